"""Direct preference optimisation. Legend: P pairs, of a winner w and a loser l.

The policy is its own reward model (`implicit_reward`). Put into the Bradley-Terry model, the part of the true
reward that depends on the prompt alone cancels, and what is left is a loss on pairs whose optimum is
reference * exp(reward / beta), normalised: where KL-regularised reinforcement learning would end.

Every loss of the family is a function of both answers' implicit rewards, per pair. Soft labels (w is better with
probability p) and weights of pairs are applied outside: p loss(w, l) + (1 - p) loss(l, w).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from assent.losses.lead import lead


def dpo(reward_w_P: Tensor, reward_l_P: Tensor) -> Tensor:
    """loss_P = -log sigmoid(r_w - r_l), r = beta * (logp - ref_logp), in nats.

    Rafailov et al. 2023, arXiv 2305.18290, eq. 7.
    """
    # logsigmoid, not log(1 + exp(-x)): the latter overflows in fp32 at a gap of 89.
    return -logsigmoid(lead(reward_w_P, reward_l_P))
