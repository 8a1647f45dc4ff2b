"""Judgments as pairs of answers, and pairs as tensors. Legend: N answers of several groups, P pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from assent.data.collate import TokenGroup

TIE = 0.5
"""Label of a pair in which neither answer is the better one."""


class Pair(NamedTuple):
    """Two answers of a group, by index, of which `better` is the better one with probability `prob`."""

    better: int
    worse: int
    weight: float
    """All pairs of one judgment share its weight."""
    margin: float = 0.0
    prob: float = 1.0
    """At least one half; exactly one half for a tie."""


@dataclass(frozen=True)
class RankedItem:
    """A group with the pairs its judgments make."""

    group: TokenGroup
    pairs: tuple[Pair, ...]

    @property
    def weight(self) -> float:
        """Sum of the judgments' weights: their number where none was given."""
        return sum(pair.weight for pair in self.pairs)


def used(item: RankedItem) -> RankedItem:
    """The item without the answers that stand in no pair: nothing is learned from them."""
    kept = sorted({i for pair in item.pairs for i in (pair.better, pair.worse)})
    place = {i: k for k, i in enumerate(kept)}
    answers = tuple(item.group.answers[i] for i in kept)
    group = replace(item.group, answers=answers, answer_ids=tuple(item.group.answer_ids[i] for i in kept))
    return RankedItem(group, tuple(p._replace(better=place[p.better], worse=place[p.worse]) for p in item.pairs))


class PairTable(NamedTuple):
    """One row a pair: indices of both among all answers of the items, and what the judgment said of them."""

    w_P: Tensor
    l_P: Tensor
    weight_P: Tensor
    margin_P: Tensor
    prob_P: Tensor

    @property
    def soft(self) -> Tensor | None:
        """The labels where one of them is soft; None where the better answer is certain in every pair."""
        return None if bool((self.prob_P == 1).all()) else self.prob_P

    @property
    def decided(self) -> Tensor:
        """Weights of the pairs that are no ties: on the others nobody can be right."""
        return self.weight_P.masked_fill(self.prob_P == TIE, 0.0)


def pair_table(items: Sequence[RankedItem], like: Tensor) -> PairTable:
    """The pairs of all items, on the device and in the dtype of `like`."""
    rows: list[Pair] = []
    first = 0
    for item in items:
        rows += [pair._replace(better=first + pair.better, worse=first + pair.worse) for pair in item.pairs]
        first += len(item.group.answers)
    w, l, *values = zip(*rows, strict=True)
    weight_P, margin_P, prob_P = (torch.tensor(v, device=like.device, dtype=like.dtype) for v in values)
    return PairTable(
        torch.tensor(w, device=like.device), torch.tensor(l, device=like.device), weight_P, margin_P, prob_P
    )


def won(lead_P: Tensor) -> Tensor:
    """1 where the preferred answer leads, one half where neither does."""
    return (lead_P > 0).to(lead_P.dtype) + 0.5 * (lead_P == 0)


def pairs_by_score(
    scores: Sequence[float | None], answers: Sequence[object], only: str = "all", soft: bool = False
) -> tuple[Pair, ...]:
    """All pairs of answers whose scores differ, sharing the weight 1; `only="ends"`: the best against the worst.

    Equal answers, and answers without a score (None), make no pair. `soft`: the better one is better with the
    probability sigmoid(difference of the scores), the Bradley-Terry model's, instead of certainly.
    """
    known = sorted({score for score in scores if score is not None})
    found = [
        (i, j, 1 / (1 + math.exp(low - high)) if soft else 1.0)
        for i, high in enumerate(scores)
        for j, low in enumerate(scores)
        if high is not None and low is not None and high > low and answers[i] != answers[j]
        if only == "all" or (high == known[-1] and low == known[0])
    ]
    return tuple(Pair(better, worse, 1 / len(found), prob=prob) for better, worse, prob in found)
