"""Robust DPO: labels of which a known share is wrong. Legend: P pairs, of a winner w and a loser l."""

from __future__ import annotations

from torch import Tensor

from assent.losses.cdpo import check_smoothing
from assent.losses.dpo import dpo


def robust(reward_w_P: Tensor, reward_l_P: Tensor, label_smoothing: float) -> Tensor:
    """loss_P = ((1 - e) dpo(w, l) - e dpo(l, w)) / (1 - 2e), in nats; e = label_smoothing in [0, 1/2).

    Where a share e of the labels was flipped its mean is DPO's on the labels before, so the optimum is the one
    without noise (cDPO's is not). A single loss may be negative, and on labels that are all alike there is no
    least. Chowdhury et al. 2024, arXiv 2403.00409.
    """
    check_smoothing(label_smoothing)
    kept_P, flipped_P = dpo(reward_w_P, reward_l_P), dpo(reward_l_P, reward_w_P)
    return ((1 - label_smoothing) * kept_P - label_smoothing * flipped_P) / (1 - 2 * label_smoothing)
