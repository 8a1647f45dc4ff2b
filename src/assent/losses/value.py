"""The value model's loss. Legend: N answers, T answer positions.

Source: "The N+ Implementation Details of RLHF with PPO", arXiv 2403.17031 (value clipping of 0.2), after
OpenAI's lm-human-preferences 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from assent.ops.masked import check_shapes, zero_outside


class ValueLoss(NamedTuple):
    """Per token: the loss, and, without gradient, where clipping decided it (no gradient there)."""

    loss_NT: Tensor
    clipped_NT: Tensor


def value_loss(
    value_NT: Tensor,
    old_value_NT: Tensor,
    return_NT: Tensor,
    mask_NT: Tensor,
    clip_range: float | None = 0.2,
) -> ValueLoss:
    """0.5 max((V - R)^2, (clip(V, V_old +- clip_range) - R)^2), in squared units of reward, per token.

    V is the value before token t was written, V_old its value at rollout time, R the return. Only value_NT
    gets a gradient. clip_range=None: the plain squared error. Outside the mask: loss 0, not clipped.
    """
    if clip_range is not None and clip_range <= 0:
        raise ValueError(f"clip_range must be above 0 (None: no clipping), got {clip_range}")
    check_shapes(mask_NT, value_NT=value_NT, old_value_NT=old_value_NT, return_NT=return_NT)
    value_NT = zero_outside(value_NT, mask_NT)
    old_value_NT = zero_outside(old_value_NT, mask_NT).detach()
    return_NT = zero_outside(return_NT, mask_NT).detach()

    squared_NT = (value_NT - return_NT).square()
    if clip_range is None:
        return ValueLoss(0.5 * squared_NT, torch.zeros_like(mask_NT))
    near_NT = old_value_NT + (value_NT - old_value_NT).clamp(-clip_range, clip_range)
    clipped_NT = (near_NT - return_NT).square()
    return ValueLoss(0.5 * torch.maximum(squared_NT, clipped_NT), clipped_NT > squared_NT)
