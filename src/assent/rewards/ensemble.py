"""Several reward models as one scorer, and how far they disagree: where they do, the proxy is not to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from assent.config.rewards import Combine
from assent.core.protocols import Scorer
from assent.core.records import Group
from assent.models.load import load_reward_models, member_folders
from assent.rewards.model import ModelReward

Scores = list[list[float | None]]
"""A number per answer, by group; None where it cannot be computed."""


class EnsembleReward:
    """The members' mean, least, or mean less k standard deviations.

    Coste et al. 2023 (arXiv 2310.02743), where variances are taken off; a deviation has the unit of the score.
    Disagreement about an answer is the standard deviation of the members' scores, divided by their number and not by
    one less: with two members, mean less one deviation is their least. An answer that one member cannot score has no
    score.
    """

    def __init__(self, members: Sequence[Scorer], combine: Combine) -> None:
        self.members, self.combine = list(members), combine
        self.disagreement: float | None = None
        """Mean disagreement over the answers of the last batch; None before the first, or where none was known."""

    def score(self, groups: Sequence[Group]) -> Scores:
        """The members' scores as one number per answer."""
        tables = self.by_member(groups)
        known = [value for row in _each(tables, spread) for value in row if value is not None]
        self.disagreement = mean(known) if known else None
        return _each(tables, self._combined)

    def by_member(self, groups: Sequence[Group]) -> list[Scores]:
        """What each member says of each answer."""
        return [member.score(groups) for member in self.members]

    def disagreements(self, groups: Sequence[Group]) -> Scores:
        """The members' disagreement about each answer: what people should look at first."""
        return _each(self.by_member(groups), spread)

    @property
    def distrusted(self) -> bool:
        """Whether the members disagreed about the last batch by more than the recipe allows."""
        limit = self.combine.stop_above
        return limit is not None and self.disagreement is not None and self.disagreement > limit

    def _combined(self, values: Sequence[float]) -> float:
        if self.combine.how == "min":
            return min(values)
        return mean(values) - (self.combine.k * spread(values) if self.combine.how == "lower" else 0.0)


def load_scorer(
    name: str, folder: str | Path, token_budget: int = 16384, combine: Combine | None = None
) -> ModelReward | EnsembleReward:
    """The reward model in a folder, or the ensemble (their mean, unless told otherwise), as a scorer."""
    members = [ModelReward(name, *loaded, token_budget) for loaded in load_reward_models(folder)]
    return EnsembleReward(members, combine or Combine()) if member_folders(folder) else members[0]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    """Standard deviation of all values there are."""
    centre = mean(values)
    return math.sqrt(mean([(value - centre) ** 2 for value in values]))


def _each(tables: Sequence[Scores], rule: Callable[[Sequence[float]], float]) -> Scores:
    """`rule` of what the members say, answer by answer; None where one of them says nothing."""
    found: Scores = []
    for rows in zip(*tables, strict=True):
        found.append([])
        for values in zip(*rows, strict=True):
            known = [value for value in values if value is not None]
            found[-1].append(rule(known) if len(known) == len(values) else None)
    return found
