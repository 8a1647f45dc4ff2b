"""Recipes: strict models of what a user may write, loading, overrides."""
