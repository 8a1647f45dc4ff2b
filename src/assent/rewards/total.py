"""The weighted sum of several rewards, each component kept for its own curve."""

from __future__ import annotations

from collections.abc import Sequence

from assent.core.protocols import Scorer
from assent.core.records import Group
from assent.rewards.ensemble import EnsembleReward
from assent.rewards.model import ModelReward


class TotalReward:
    """sum_i weight_i x reward_i. An answer that any component cannot score is missing (None)."""

    def __init__(self, parts: Sequence[tuple[str, Scorer, float]]) -> None:
        self.parts = list(parts)
        self.components: dict[str, list[float]] = {}

    def at(self, step: int) -> None:
        """Tell components that want to know (TRL's `trainer_state.global_step`) which step it is."""
        for _, scorer, _ in self.parts:
            if hasattr(scorer, "step"):
                scorer.step = step

    def figures(self) -> dict[str, float]:
        """Mean of each component over the last batch, and what functions logged themselves."""
        means = {
            f"rewards/{name}/mean": sum(values) / len(values) for name, values in self.components.items() if values
        }
        for _, scorer, _ in self.parts:
            means |= getattr(scorer, "metrics", {})
        if (disagreement := self.disagreement) is not None:
            means["rewards/disagreement"] = disagreement
        return means

    @property
    def readers(self) -> list[ModelReward]:
        """Every reward model among the parts and their members."""
        scorers = [
            s for _, part, _ in self.parts for s in (part.members if isinstance(part, EnsembleReward) else [part])
        ]
        return [scorer for scorer in scorers if isinstance(scorer, ModelReward)]

    @property
    def ensembles(self) -> list[EnsembleReward]:
        """Those of the parts that have members."""
        return [scorer for _, scorer, _ in self.parts if isinstance(scorer, EnsembleReward)]

    @property
    def disagreement(self) -> float | None:
        """Mean disagreement of an ensemble's members over the last batch; of several ensembles, the largest."""
        return max((e.disagreement for e in self.ensembles if e.disagreement is not None), default=None)

    @property
    def distrusted(self) -> bool:
        """Whether an ensemble's disagreement about the last batch says that training must end."""
        return any(ensemble.distrusted for ensemble in self.ensembles)

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """The total per answer; `components` then holds each part's known values."""
        tables = [(name, weight, scorer.score(groups)) for name, scorer, weight in self.parts]
        self.components = {name: [v for row in table for v in row if v is not None] for name, _, table in tables}
        return [
            [_sum([(w, table[g][a]) for _, w, table in tables]) for a in range(len(group.answers))]
            for g, group in enumerate(groups)
        ]


def _sum(terms: Sequence[tuple[float, float | None]]) -> float | None:
    total = 0.0
    for weight, value in terms:
        if value is None:
            return None
        total += weight * value
    return total
