"""Keeping rewards on a known scale, so that kl_coef means the same from run to run. Legend: N answers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Below this spread rewards are one number plus rounding; dividing by it would make signal out of noise.
SMALLEST_STD = 1e-8


def clip_rewards(reward_N: Tensor, limit: float) -> Tensor:
    """reward_N within +-limit. After scaling and before the KL term, which must never be clipped away."""
    if not limit > 0:
        raise ValueError(f"the reward limit must be above 0, got {limit}")
    return reward_N.clamp(-limit, limit)


class RewardNormaliser:
    """Running mean and population standard deviation of all rewards seen so far.

    Batches are merged exactly (Chan, Golub and LeVeque 1979), so the result does not depend on how the
    rewards were cut into batches, and ranks can be merged the same way.
    """

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    @property
    def std(self) -> float:
        """Population standard deviation; 1 while there is no spread to divide by."""
        spread = math.sqrt(self._squares / self.count) if self.count else 0.0
        return spread if spread > SMALLEST_STD else 1.0

    def update(self, reward_N: Tensor) -> None:
        """Add a batch. Missing rewards are left out by the caller: a NaN here is an error."""
        seen_N = reward_N.detach().cpu().double()
        if not torch.isfinite(seen_N).all():
            raise ValueError("a reward is NaN or infinite; leave rewards that could not be computed out")
        if seen_N.numel():
            mean = seen_N.mean()
            self._merge(float(seen_N.numel()), float(mean), float((seen_N - mean).square().sum()))

    def merge(self, other: RewardNormaliser) -> None:
        """Add everything another normaliser has seen (another rank's)."""
        if other.count:
            self._merge(other.count, other.mean, other._squares)

    def _merge(self, count: float, mean: float, squares: float) -> None:
        total, gap = self.count + count, mean - self.mean
        self.mean += gap * count / total
        self._squares += squares + gap * gap * self.count * count / total
        self.count = total

    def apply(self, reward_N: Tensor, shift: bool = False) -> Tensor:
        """reward_N / std, or (reward_N - mean) / std with `shift`.

        Dividing alone is the default: 0 keeps its meaning, and the mean, which drifts as the policy
        improves, does not silently change what the same answer is worth.
        """
        return (reward_N - self.mean if shift else reward_N) / self.std

    def state_dict(self) -> dict[str, float]:
        return {"count": self.count, "mean": self.mean, "squares": self._squares}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.count, self.mean = float(state["count"]), float(state["mean"])
        self._squares = float(state["squares"])
