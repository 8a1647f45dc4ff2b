"""Assent: teach a model what people prefer, then find out what it really learned."""

__version__ = "0.1.0"
