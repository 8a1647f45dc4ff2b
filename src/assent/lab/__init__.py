"""The embedded world: invented facts, text, gold and simulated raters; no claim about large models."""
