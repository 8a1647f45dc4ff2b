"""The hinge loss on implicit rewards. Legend: P pairs, of a winner w and a loser l."""

from __future__ import annotations

from torch import Tensor

from assent.losses.lead import lead


def hinge(reward_w_P: Tensor, reward_l_P: Tensor) -> Tensor:
    """loss_P = max(0, 1 - (r_w - r_l)), r = beta * (logp - ref_logp): nothing is asked beyond a lead of 1.

    SLiC (Zhao et al. 2023, arXiv 2305.10425) in the form of RSO (Liu et al. 2023, arXiv 2309.06657): measured from
    the reference, and without SLiC's supervised term.
    """
    return (1 - lead(reward_w_P, reward_l_P)).clamp_min(0)
