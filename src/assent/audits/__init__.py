"""What did the model really learn? Thin for now: the table of one row a model."""
