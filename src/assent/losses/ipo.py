"""Identity preference optimisation. Legend: P pairs, of a winner w and a loser l."""

from __future__ import annotations

from torch import Tensor

from assent.losses.lead import lead


def ipo(reward_w_P: Tensor, reward_l_P: Tensor, beta: float) -> Tensor:
    """loss_P = (h - 1 / (2 beta))^2 with h = (r_w - r_l) / beta, in squared nats a token.

    r = beta * (logp - ref_logp) / length. The lead to end at is 1/2, however sure the labels are: nothing is driven
    to infinity by preferences without exception. Averaged over an answer's tokens, which the paper does not say and
    its authors confirmed to TRL: a sum would make the same lead easier for longer answers.
    Azar et al. 2023, arXiv 2310.12036, eq. 17; beta is its tau.
    """
    return ((lead(reward_w_P, reward_l_P) - 0.5) / beta).square()
