"""Thin commands. Heavy imports stay inside them, so that `assent --help` is instant."""
