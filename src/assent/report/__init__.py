"""What a person reads at the end: the HTML report, its plots, the model card, the terminal table."""
