"""Sums, means and whitening over real tokens only. Legend: N answers, T answer positions.

Tokens outside the mask are zeroed *before* any arithmetic: multiplying by the mask afterwards would turn
a NaN in the padding into a NaN everywhere (NaN * 0), in the result or in its gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Added to a variance before its square root, as in OpenAI's 2019 code: a constant input whitens to 0.
VARIANCE_FLOOR = 1e-8


def check_shapes(mask_NT: Tensor, **tensors_NT: Tensor) -> None:
    """Raise ValueError unless the mask is boolean and every named tensor has its shape.

    Broadcasting would otherwise accept an [N] where an [N, T] is meant, silently, whenever N == T.
    """
    if mask_NT.dtype is not torch.bool:
        raise ValueError(f"mask_NT must be boolean (True on a real token), got {mask_NT.dtype}")
    for name, tensor_NT in tensors_NT.items():
        if tensor_NT.shape != mask_NT.shape:
            raise ValueError(f"{name} has shape {tuple(tensor_NT.shape)}, its mask {tuple(mask_NT.shape)}")


def zero_outside(x_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """`x_NT` with exact zeros, and zero gradient, outside the mask."""
    return x_NT.masked_fill(~mask_NT, 0.0)


def masked_sum(x_NT: Tensor, mask_NT: Tensor, dim: int | None = None) -> Tensor:
    """Sum over the real tokens, of everything (scalar) or along `dim`."""
    check_shapes(mask_NT, x_NT=x_NT)
    return zero_outside(x_NT, mask_NT).sum(dim=dim)


def masked_mean(x_NT: Tensor, mask_NT: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the real tokens; where there is none it is NaN, not a 0 that reads like a measurement."""
    return masked_sum(x_NT, mask_NT, dim) / mask_NT.sum(dim=dim)


def masked_var(x_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Population variance (divided by n, not n - 1) over all real tokens: a scalar.

    OpenAI's 2019 code takes the population variance, TRL the sample variance; here it is the former,
    which is also defined for a single token.
    """
    mean = masked_mean(x_NT, mask_NT)
    return masked_mean((zero_outside(x_NT, mask_NT) - mean).square(), mask_NT)


def whiten(x_NT: Tensor, mask_NT: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale to variance 1 over the real tokens of the whole batch; 0 outside the mask.

    shift_mean=True moves the mean to 0 (advantages); False leaves it where it was (rewards: a whitened
    reward must keep saying whether an answer was good). Give it the whole rollout batch, never a
    micro-batch: `(x - mean) / sqrt(var + 1e-8) [+ mean]`, lm-human-preferences 2019, `core.whiten`.
    """
    mean = masked_mean(x_NT, mask_NT)
    scale = torch.rsqrt(masked_var(x_NT, mask_NT) + VARIANCE_FLOOR)
    white_NT = (zero_outside(x_NT, mask_NT) - mean) * scale
    return zero_outside(white_NT if shift_mean else white_NT + mean, mask_NT)


def explained_variance(value_NT: Tensor, return_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """`1 - Var(return - value) / Var(return)` over the real tokens: a scalar, at most 1.

    1: the value model predicts every return; 0: no better than a constant; negative: worse than one.
    NaN where all returns are equal.
    """
    check_shapes(mask_NT, value_NT=value_NT, return_NT=return_NT)
    residual_NT = zero_outside(return_NT - value_NT, mask_NT)
    spread = masked_var(return_NT, mask_NT)
    return torch.where(spread > 0, 1 - masked_var(residual_NT, mask_NT) / spread, torch.nan)
