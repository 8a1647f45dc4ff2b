"""Randomness as a function of (seed, names), so that little state has to survive a kill."""

from __future__ import annotations

import numpy as np

from assent.core.hashing import hash_int


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed for the purpose named by `names`, independent of every other purpose."""
    return hash_int(seed, *[str(name) for name in names])


def generator(seed: int, *names: object) -> np.random.Generator:
    """NumPy generator for the purpose named by `names`."""
    return np.random.default_rng(derive(seed, *names))


def order(n: int, seed: int, *names: object) -> list[int]:
    """A permutation of range(n): data order as f(seed, epoch), nothing to checkpoint."""
    return [int(i) for i in generator(seed, "order", *names).permutation(n)]
