"""Group-relative advantages: an answer is worth what it scored beyond its siblings.

Legend: G groups (prompts), K answers each. No value model has to guess what the prompt would have given anyway.
A score that is missing (not `known_GK`) is out of mean and deviation, and its advantage is 0. A group whose known
scores are all equal, or of which fewer than two are known, gets exactly 0. Results carry no gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from assent.ops.masked import check_shapes, zero_outside

STD_FLOOR = 1e-4
"""Added to the deviation, as TRL does: a group whose scores hardly differ is not blown up to full size."""
SAME = 1e-6
"""Scores closer than this are one score plus rounding: a group of them says nothing."""

Scale = Literal["group", "batch", "none"]


class _Centred(NamedTuple):
    """lead_GK: score less the mean of its group, exactly 0 where missing or flat; n_G1: known scores of a group."""

    lead_GK: Tensor
    n_G1: Tensor


@torch.no_grad()
def flat_groups(score_GK: Tensor, known_GK: Tensor) -> Tensor:
    """flat_G: the group's known scores are all equal (within 1e-6), or fewer than two: it says nothing."""
    check_shapes(known_GK, score_GK=score_GK)
    high_G = score_GK.masked_fill(~known_GK, -torch.inf).amax(dim=1)
    low_G = score_GK.masked_fill(~known_GK, torch.inf).amin(dim=1)
    return high_G - low_G <= SAME  # also where nothing is known: -inf - inf


@torch.no_grad()
def group_std(score_GK: Tensor, known_GK: Tensor) -> Tensor:
    """std_G of each group's known scores, divided by n - 1; 0 where fewer than two are known."""
    lead_GK, n_G1 = _centred(score_GK, known_GK)
    return (lead_GK.square().sum(dim=1) / (n_G1.squeeze(1) - 1).clamp_min(1)).sqrt()


@torch.no_grad()
def group_advantages(score_GK: Tensor, known_GK: Tensor, scale: Scale = "group") -> Tensor:
    """advantage_GK = (score - mean of the group) / (std + 1e-4); std divides by n - 1, as in TRL.

    GRPO: Shao et al. 2024, arXiv 2402.03300, section 4.1.2. `scale`: whose deviation that is. The group's (the
    paper); all known scores' of the batch (Hu et al. 2025, arXiv 2501.03262; TRL), so that a group which hardly
    differs counts little; none: nothing is divided, and a prompt counts as much as its scores differ (Dr. GRPO,
    arXiv 2503.20783).
    """
    lead_GK, _ = _centred(score_GK, known_GK)
    if scale == "group":
        return lead_GK / (group_std(score_GK, known_GK)[:, None] + STD_FLOOR)
    if scale == "batch":
        known_1N = known_GK.reshape(1, -1)
        return lead_GK / (group_std(score_GK.reshape(1, -1), known_1N) + STD_FLOOR)
    if scale == "none":
        return lead_GK
    raise ValueError(f"scale must be group, batch or none, got {scale!r}")


@torch.no_grad()
def leave_one_out(score_GK: Tensor, known_GK: Tensor) -> Tensor:
    """advantage_GK = score - mean score of the *other* known answers of the group.

    RLOO: Ahmadian et al. 2024, arXiv 2402.14740, eq. 11; Kool et al. 2019. A baseline in which the answer itself has
    no part leaves the gradient's expectation alone. It is n / (n - 1) times the lead on the whole group's mean.
    """
    lead_GK, n_G1 = _centred(score_GK, known_GK)
    return lead_GK * n_G1 / (n_G1 - 1).clamp_min(1)


def _centred(score_GK: Tensor, known_GK: Tensor) -> _Centred:
    check_shapes(known_GK, score_GK=score_GK)
    flat_G1 = flat_groups(score_GK, known_GK)[:, None]
    score_GK = zero_outside(score_GK, known_GK)
    n_G1 = known_GK.sum(dim=1, keepdim=True)
    lead_GK = score_GK - score_GK.sum(dim=1, keepdim=True) / n_G1.clamp_min(1)
    return _Centred(zero_outside(lead_GK, known_GK & ~flat_G1), n_G1)
