"""PPO's clipped policy loss. Legend: N answers, T answer positions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from assent.ops.kl import log_ratio
from assent.ops.masked import check_shapes, zero_outside


class PolicyLoss(NamedTuple):
    """Per token: the loss, and, without gradient, the ratio and where a bound cut the gradient off."""

    loss_NT: Tensor
    ratio_NT: Tensor
    clipped_low_NT: Tensor  # advantage < 0 and ratio < 1 - clip_low: made rare enough
    clipped_high_NT: Tensor  # advantage > 0 and ratio > 1 + clip_high: made likely enough; or dual clip


def policy_loss(
    logp_NT: Tensor,
    old_logp_NT: Tensor,
    advantage_NT: Tensor,
    mask_NT: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    importance_NT: Tensor | None = None,
) -> PolicyLoss:
    """max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)) with r = exp(logp - old_logp), per token.

    Schulman et al. 2017, arXiv 1707.06347, eq. 7 (negated); separate bounds: DAPO, arXiv 2503.14476.
    dual_clip c > 1: with A < 0 the loss is at most -c A, or one token whose ratio explodes would own the
    step (Ye et al. 2020, arXiv 1912.09729, eq. 5). importance_NT (`ops.importance`): a constant factor on
    the loss. Only logp_NT gets a gradient. Outside the mask: loss 0, ratio exactly 1, not clipped.
    """
    _check_bounds(clip_low, clip_high, dual_clip)
    check_shapes(mask_NT, advantage_NT=advantage_NT)
    advantage_NT = zero_outside(advantage_NT, mask_NT).detach()
    ratio_NT = log_ratio(logp_NT, old_logp_NT.detach(), mask_NT).exp()

    unclipped_NT = -advantage_NT * ratio_NT
    clipped_NT = -advantage_NT * ratio_NT.clamp(1 - clip_low, 1 + clip_high)
    loss_NT = torch.maximum(unclipped_NT, clipped_NT)

    cut_NT = clipped_NT > unclipped_NT
    low_NT, high_NT = cut_NT & (advantage_NT < 0), cut_NT & (advantage_NT > 0)
    if dual_clip is not None:
        exploded_NT = (advantage_NT < 0) & (ratio_NT > dual_clip)
        loss_NT = torch.where(exploded_NT, -dual_clip * advantage_NT, loss_NT)
        high_NT = high_NT | exploded_NT
    if importance_NT is not None:
        check_shapes(mask_NT, importance_NT=importance_NT)
        loss_NT = zero_outside(importance_NT, mask_NT).detach() * loss_NT
    return PolicyLoss(loss_NT, ratio_NT.detach(), low_NT, high_NT)


def _check_bounds(clip_low: float, clip_high: float, dual_clip: float | None) -> None:
    if clip_low < 0 or clip_high < 0:
        raise ValueError(f"clip_low and clip_high must not be negative, got {clip_low} and {clip_high}")
    if dual_clip is not None and dual_clip <= 1:
        raise ValueError(f"dual_clip must be above 1 (None: off), got {dual_clip}")
