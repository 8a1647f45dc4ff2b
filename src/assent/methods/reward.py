"""Reward modelling: Bradley-Terry on all pairs of a ranking at once (InstructGPT, arXiv 2203.02155).

A group's answers pass through the model once; each judgment's pairs share the weight 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from assent.config.blocks import Optimiser
from assent.engine import score
from assent.losses.reward import centring_loss, pair_loss
from assent.methods.pairs import RankedItem, pair_table, won
from assent.methods.sft import window
from assent.train.method import Batch, Objective, Peek


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
        pairs = pair_table(items, reward_N)
        w_P, l_P, weight_P, decided_P = pairs.w_P, pairs.l_P, pairs.weight_P, pairs.decided
        loss_P = pair_loss(reward_N[w_P], reward_N[l_P], pairs.margin_P, pairs.soft)
        if self.centre:
            loss_P = loss_P + centring_loss(reward_N[w_P], reward_N[l_P], self.centre)
        weight = sum(item.weight for item in items)
        lead_P = (reward_N[w_P] - reward_N[l_P]).detach()
        metrics: dict[str, tuple[Tensor | float, float]] = {
            "accuracy": ((won(lead_P) * decided_P).sum(), float(decided_P.sum())),
            "margin": ((lead_P * decided_P).sum(), float(decided_P.sum())),
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
