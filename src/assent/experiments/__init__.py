"""Claims as experiments: fixed seeds, recipes in this repository, verdicts that can fail."""
