"""Simple preference optimisation: no reference. Legend: P pairs, of a winner w and a loser l."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from assent.losses.lead import lead


def simpo(reward_w_P: Tensor, reward_l_P: Tensor, gamma: float) -> Tensor:
    """loss_P = -log sigmoid(r_w - r_l - gamma), r = beta * logp / length, in nats.

    gamma is the lead that the better answer should have. Nothing holds the policy to where it started but the
    learning rate. Meng et al. 2024, arXiv 2405.14734, eq. 6.
    """
    return -logsigmoid(lead(reward_w_P, reward_l_P) - gamma)
