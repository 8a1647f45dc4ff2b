"""THE loop, and what it needs: optimiser, checkpoint, tracking, a clean stop."""
