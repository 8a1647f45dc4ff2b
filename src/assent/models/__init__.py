"""Loading, saving and heads: every model is a plain Hugging Face folder."""
