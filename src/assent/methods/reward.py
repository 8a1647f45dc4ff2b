"""Reward modelling: Bradley-Terry on all pairs of a ranking at once (InstructGPT, arXiv 2203.02155).

A group's answers pass through the model once; each judgment's pairs share the weight 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assent.config.blocks import Optimiser
from assent.data.collate import TokenGroup
from assent.engine import score
from assent.losses.reward import centring_loss, pair_loss
from assent.methods.sft import window
from assent.train.method import Batch, Objective, Peek


@dataclass(frozen=True)
class RankedItem:
    """A group with the pairs its judgments make: (better, worse, weight, margin), answers by index."""

    group: TokenGroup
    pairs: tuple[tuple[int, int, float, float], ...]

    @property
    def weight(self) -> float:
        """Number of judgments behind the pairs."""
        return sum(pair[2] for pair in self.pairs)


class Reward:
    """Epochs over ranked groups."""

    def __init__(
        self,
        model: Any,
        items: Sequence[RankedItem],
        optimiser: Optimiser,
        *,
        centre: float,
        batch: int,
        steps: int,
        seed: int,
        peek: Peek | None = None,
    ) -> None:
        self.modules: dict[str, nn.Module] = {"reward": model}
        self.optimisers = {"reward": optimiser}
        self.model, self.items, self.centre = model, list(items), centre
        self.batch, self.steps, self.seed, self.peek = batch, steps, seed, peek

    def batches(self, step: int) -> Iterator[Batch]:
        """The next `batch` groups of an endless, reshuffled pass."""
        items = [self.items[i] for i in window(len(self.items), self.batch, step, self.seed)]
        yield Batch(items, weight=sum(item.weight for item in items))

    def loss(self, items: Sequence[RankedItem]) -> Objective:
        """Sum over pairs of weight x loss; weight: judgments."""
        reward_N = score(self.model, [item.group for item in items]).reward_N
        assert reward_N is not None
        w_P, l_P, weight_P, margin_P = _pairs(items, reward_N)
        loss_P = pair_loss(reward_N[w_P], reward_N[l_P], margin_P)
        if self.centre:
            loss_P = loss_P + centring_loss(reward_N[w_P], reward_N[l_P], self.centre)
        weight = sum(item.weight for item in items)
        lead_P = (reward_N[w_P] - reward_N[l_P]).detach()
        won_P = (lead_P > 0).to(lead_P.dtype) + 0.5 * (lead_P == 0)
        metrics: dict[str, tuple[Tensor | float, float]] = {
            "accuracy": ((won_P * weight_P).sum(), weight),
            "margin": ((lead_P * weight_P).sum(), weight),
            "mean_reward": (reward_N.detach().sum(), float(len(reward_N))),
        }
        return Objective((loss_P * weight_P).sum(), weight, metrics)

    def observe(self, step: int) -> dict[str, float]:
        """Passes over the data so far."""
        return {"epoch": (step + 1) * self.batch / len(self.items)}

    def samples(self) -> list[dict[str, Any]]:
        """How the reward model scores some answers now, where a peek was given."""
        return self.peek() if self.peek else []

    def state(self) -> dict[str, Any]:
        """Nothing beside the model and its optimiser."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def _pairs(items: Sequence[RankedItem], like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices of winners and losers among all answers of the items, weights and margins, one row a pair."""
    rows: list[tuple[int, int, float, float]] = []
    first = 0
    for item in items:
        rows += [(first + w, first + l, weight, margin) for w, l, weight, margin in item.pairs]
        first += len(item.group.answers)
    w, l, weight, margin = zip(*rows, strict=True)
    return (
        torch.tensor(w, device=like.device),
        torch.tensor(l, device=like.device),
        torch.tensor(weight, device=like.device, dtype=like.dtype),
        torch.tensor(margin, device=like.device, dtype=like.dtype),
    )
