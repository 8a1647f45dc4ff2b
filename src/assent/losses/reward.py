"""The reward model's pairwise loss (Bradley-Terry). Legend: P pairs; w the preferred answer, l the other.

The reward of an answer is one number, read at its last token; only differences are learned, so the scale
is in nats of log-odds: a difference of 1 means the model expects to be right 73 times in 100.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from assent.losses.lead import lead


def pair_loss(
    reward_w_P: Tensor,
    reward_l_P: Tensor,
    margin_P: Tensor | None = None,
    prob_w_P: Tensor | None = None,
) -> Tensor:
    """loss_P = -log sigmoid(r_w - r_l - margin), in nats (InstructGPT, arXiv 2203.02155, eq. 1).

    margin_P: by how much the preferred answer should lead (Llama 2, arXiv 2307.09288, eq. 2).
    prob_w_P: soft label in [0, 1], the probability that w is the better one. The loss is then the mean of
    the two outcomes' losses, the margin asked of whichever wins; swapping w and l with 1 - prob changes
    nothing. Weights of pairs (raters, `pair_weights`) multiply the result outside.
    """
    lead_P = lead(reward_w_P, reward_l_P)
    margin_P = torch.zeros_like(lead_P) if margin_P is None else margin_P
    # logsigmoid, not log(1 + exp(-x)): the latter overflows in fp32 at a gap of 89.
    loss_w_P = -logsigmoid(lead_P - margin_P)
    if prob_w_P is None:
        return loss_w_P
    loss_l_P = -logsigmoid(-lead_P - margin_P)
    return prob_w_P * loss_w_P + (1 - prob_w_P) * loss_l_P


def centring_loss(reward_w_P: Tensor, reward_l_P: Tensor, coef: float) -> Tensor:
    """loss_P = coef * (r_w + r_l)^2: keeps rewards near 0, which `pair_loss` leaves free.

    Eisenstein et al. 2023, arXiv 2312.09244; 0.01 is the usual coefficient. Add it to `pair_loss`.
    """
    lead(reward_w_P, reward_l_P)
    return coef * (reward_w_P + reward_l_P).square()


def pair_weights(judgment_P: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """weight_P = 1 / (number of pairs of the same judgment), from each pair's judgment index.

    A ranking of K answers gives up to K(K-1)/2 pairs, all from one opinion: together they weigh as much as
    one (InstructGPT's 1 / C(K,2)). Compute it before cutting into micro-batches; the denominator is the
    sum of the weights, that is the number of judgments.
    """
    _, inverse_P, counts = torch.unique(judgment_P, return_inverse=True, return_counts=True)
    weight_P: Tensor = counts.to(dtype).reciprocal()[inverse_P]
    return weight_P
