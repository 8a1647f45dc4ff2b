"""Random ragged batches for the tensor tests: right-padded rows of different lengths, in float64."""

import torch
from torch import Tensor


def ragged_mask(lengths: list[int], width: int | None = None) -> Tensor:
    """mask_NT, True on the first `lengths[n]` positions of row n."""
    length_N = torch.tensor(lengths)
    return torch.arange(width or max(lengths)) < length_N[:, None]


def random_mask(n: int, t: int, seed: int) -> Tensor:
    """A ragged mask with at least one token a row and one row that fills the width."""
    print(f"seed {seed}")
    lengths = torch.randint(1, t + 1, (n,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ragged_mask([*lengths[:-1], t])


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def poison(x_NT: Tensor, mask_NT: Tensor, value: float = float("nan")) -> Tensor:
    """`x_NT` with `value` in the padding."""
    return x_NT.masked_fill(~mask_NT, value)


def widen(x_NT: Tensor, extra: int, value: float = 0) -> Tensor:
    """`x_NT` with `extra` more columns of padding on the right."""
    return torch.nn.functional.pad(x_NT, (0, extra), value=value)
