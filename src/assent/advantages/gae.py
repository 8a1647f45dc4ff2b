"""Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438).

Legend: N answers, T answer positions. Writing token t of an answer is one step:

    reward r_t    paid for token t
    value  V_t    the return expected *before* token t is written (so V_0 has seen the prompt only)

    delta_t  = r_t + gamma V_{t+1} - V_t             how much better it went than expected     (eq. 11)
    A_t      = delta_t + gamma lambda A_{t+1}        ... and the surprises that followed       (eq. 16)
    return_t = A_t + V_t                             what the value model should have said

After the last token V = 0 and A = 0: an answer has no future. lambda = 0 trusts the value model, A =
delta (eq. 17); lambda = 1 trusts the rewards, A = their discounted sum - V (eq. 18). Usual: 1 and 0.95.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from assent.ops.masked import check_shapes, zero_outside


class Advantages(NamedTuple):
    """Per token, in units of reward, without gradient; 0 outside the mask."""

    advantage_NT: Tensor
    return_NT: Tensor


@torch.no_grad()
def gae(reward_NT: Tensor, value_NT: Tensor, mask_NT: Tensor, gamma: float = 1.0, lam: float = 0.95) -> Advantages:
    """Advantages and returns of every token; whiten the advantages afterwards, never the returns.

    A masked position is no step: the walk carries V and A across it unchanged. That is the padding after
    an answer (both still 0) and, in a conversation, tokens the model did not write.
    """
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma and lam must be between 0 and 1, got {gamma} and {lam}")
    check_shapes(mask_NT, reward_NT=reward_NT, value_NT=value_NT)
    reward_NT, value_NT = zero_outside(reward_NT, mask_NT), zero_outside(value_NT, mask_NT)

    advantage_NT = torch.zeros_like(value_NT)
    next_value_N = next_advantage_N = value_NT.new_zeros(len(value_NT))
    for t in reversed(range(value_NT.shape[1])):
        real_N = mask_NT[:, t]
        delta_N = reward_NT[:, t] + gamma * next_value_N - value_NT[:, t]
        advantage_N = delta_N + gamma * lam * next_advantage_N
        advantage_NT[:, t] = torch.where(real_N, advantage_N, 0.0)
        next_advantage_N = torch.where(real_N, advantage_N, next_advantage_N)
        next_value_N = torch.where(real_N, value_NT[:, t], next_value_N)
    return Advantages(advantage_NT, advantage_NT + value_NT)
