"""A soft punishment of answers that come near the limit of their length. Legend: N answers."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def overlong_penalty(length_N: Tensor, most: int, last: int) -> Tensor:
    """penalty_N, to be taken from the score: 0 up to `most - last` tokens, then linearly up to 1 at `most`.

    DAPO, arXiv 2503.14476, eq. 13 (negated), with L_max = `most` and L_cache = `last`, in tokens, EOS included.
    An answer that was cut at a hard limit says nothing of how much too long it is; this does.
    """
    if not 1 <= last <= most:
        raise ValueError(f"the last tokens must be between 1 and the most there may be, got {last} of {most}")
    return ((length_N - (most - last)) / last).clamp(0.0, 1.0)
