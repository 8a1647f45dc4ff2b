"""Supervised fine-tuning: imitate the answers, loss on answer tokens only.

loss = sum over trained tokens of -log p(token) / number of trained tokens in the batch.
Pretraining is the same on rows whose prompt is one token (docs/algorithms/sft.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from assent.config.blocks import Optimiser
from assent.core.seeds import order
from assent.data.collate import TokenGroup
from assent.engine import score, score_all
from assent.losses.sft import sft_loss
from assent.train.method import Batch, Objective, Peek


@dataclass(frozen=True)
class Row:
    """One demonstration on its way through the engine."""

    group: TokenGroup

    @property
    def tokens(self) -> int:
        """Number of trained tokens."""
        return sum(len(answer) for answer in self.group.answers)


class Sft:
    """Passes over demonstrations, shuffled by f(seed, pass); with seed None, in the order given."""

    def __init__(
        self,
        policy: Any,
        groups: Sequence[TokenGroup],
        optimiser: Optimiser,
        *,
        batch: int,
        steps: int,
        seed: int | None,
        peek: Peek | None = None,
    ) -> None:
        self.modules: dict[str, nn.Module] = {"policy": policy}
        self.optimisers = {"policy": optimiser}
        self.steps, self.seed, self.batch = steps, seed, batch
        self.rows = [Row(group) for group in groups]
        self.policy, self.peek = policy, peek
        self._tokens = 0

    def batches(self, step: int) -> Iterator[Batch]:
        """The next `batch` rows of an endless sequence of passes."""
        rows = [self.rows[i] for i in window(len(self.rows), self.batch, step, self.seed)]
        self._tokens += sum(row.tokens for row in rows)
        yield Batch(rows, weight=sum(row.tokens for row in rows))

    def loss(self, items: Sequence[Row]) -> Objective:
        """Sum of token losses; weight: trained tokens."""
        scores = score(self.policy, [item.group for item in items], entropy=False)
        assert scores.logp_NT is not None
        total = sft_loss(scores.logp_NT, scores.mask_NT).sum()
        return Objective(total, float(scores.mask_NT.sum()), {})

    def observe(self, step: int) -> dict[str, float]:
        """Tokens trained on so far, passes over the data so far."""
        return {"num_tokens": float(self._tokens), "epoch": (step + 1) * self.batch / len(self.rows)}

    def samples(self) -> list[dict[str, Any]]:
        """What the policy answers now, where a peek was given."""
        return self.peek() if self.peek else []

    def state(self) -> dict[str, Any]:
        """The token count; data order needs no state."""
        return {"tokens": self._tokens}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back the token count."""
        self._tokens = state["tokens"]


def window(n: int, size: int, step: int, seed: int | None) -> list[int]:
    """Indices of batch `step` in an endless sequence of passes, each shuffled by f(seed, pass) unless seed is None."""
    return stretch(n, step * size, size, seed)


def stretch(n: int, first: int, size: int, seed: int | None) -> list[int]:
    """Indices at `size` positions of that sequence, from position `first` on."""
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(first, first + size):
        epoch, place = divmod(position, n)
        if seed is not None:
            place = orders.setdefault(epoch, order(n, seed, epoch))[place]
        chosen.append(place)
    return chosen


@torch.no_grad()
def held_out_loss(policy: Any, groups: Sequence[TokenGroup], token_budget: int) -> float:
    """Mean negative log-likelihood per answer token, in nats."""
    scores = score_all(policy, groups, token_budget)
    assert scores.logp_NT is not None
    return float(sft_loss(scores.logp_NT, scores.mask_NT).sum() / scores.mask_NT.sum())
