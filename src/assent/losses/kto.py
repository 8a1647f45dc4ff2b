"""Kahneman-Tversky optimisation: answers that are good or bad. Legend: P pairs; M mismatched answers."""

from __future__ import annotations

import torch
from torch import Tensor

from assent.losses.lead import lead


def kto(
    reward_w_P: Tensor, reward_l_P: Tensor, baseline: float, desirable_weight: float, undesirable_weight: float
) -> Tensor:
    """loss_P = (d (1 - sigmoid(r_w - baseline)) + u (1 - sigmoid(baseline - r_l))) / 2, from 0 to (d + u) / 2.

    r = beta * (logp - ref_logp); d and u are the weights. A pair is two examples, one desirable and one not, that
    know nothing of each other; the half makes the mean over pairs the mean over examples. baseline:
    beta * `mismatched_kl`, a constant. Ethayarajh et al. 2024, arXiv 2402.01306.
    """
    lead(reward_w_P, reward_l_P)  # refuses shapes that would broadcast
    desirable_P = 1 - torch.sigmoid(reward_w_P - baseline)
    undesirable_P = 1 - torch.sigmoid(baseline - reward_l_P)
    return 0.5 * (desirable_weight * desirable_P + undesirable_weight * undesirable_P)


def mismatched_kl(logp_M: Tensor, ref_logp_M: Tensor) -> float:
    """KTO's reference point z_ref = max(0, mean(logp - ref_logp)), in nats an answer, without gradient.

    Over answers to *other* prompts: how far the policy has moved on what nobody asked it. It is a biased stand-in
    for the KL to the reference, cut at 0 because a KL is never less (arXiv 2402.01306).
    """
    return max(0.0, float((logp_M - ref_logp_M).detach().mean()))
