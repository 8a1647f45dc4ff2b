"""By how much one answer of a pair is ahead of the other. Legend: P pairs, of an answer w and an answer l."""

from __future__ import annotations

from torch import Tensor


def lead(reward_w_P: Tensor, reward_l_P: Tensor) -> Tensor:
    """lead_P = r_w - r_l. Raises ValueError unless both are one number a pair: broadcasting would mix pairs."""
    if reward_w_P.shape != reward_l_P.shape or reward_w_P.dim() != 1:
        shapes = f"{tuple(reward_w_P.shape)} and {tuple(reward_l_P.shape)}"
        raise ValueError(f"both rewards must be one number a pair, [P]; got {shapes}")
    return reward_w_P - reward_l_P
