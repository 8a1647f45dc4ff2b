"""The store of people's judgments: who judged what, under which guideline, and what is asked next. No torch."""
