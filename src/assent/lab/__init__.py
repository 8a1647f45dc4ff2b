"""The embedded world: invented facts, a corpus, gold, simulated raters. It claims nothing about large models."""
