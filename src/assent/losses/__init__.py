"""Losses as plain functions of named tensors. Every one returns a value per element (token or pair);
nothing is averaged here. `ops.reduce` does that once, over the whole batch. Imports `ops` only.

Shape legend: N answers, T answer positions (right-padded), P pairs. `mask_NT` is True on real tokens.
"""
