"""What is known of each rater: monitors, and skill and biases from the joint model. Always with n and interval."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from assent.core.errors import DataError
from assent.feedback.state import State
from assent.stats.bootstrap import Interval
from assent.stats.choices import Choices, choices
from assent.stats.monitors import Monitor, monitors
from assent.stats.rater_model import RaterModel, fit

LEAST_CHOICES = 90
"""Fewest choices on pairs that somebody else judged too, for skill and biases: what their intervals were proved on."""
PERCENT = {"left", "ties", "gold", "agreement", "repeats"}
"""Monitors that are shares."""


@dataclass(frozen=True)
class RaterFigures:
    """One rater. `model`: skill, side, length and tie with intervals; empty below `LEAST_CHOICES`."""

    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    shared: int = 0
    """His choices on pairs that somebody else judged too."""
    model: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def looked_at(self) -> list[Monitor]:
        """Monitors that are worth a look."""
        return [monitor for monitor in self.monitors.values() if monitor.flagged]


@dataclass(frozen=True)
class Raters:
    """Figures by rater id, computed at `at`, Unix seconds."""

    at: float
    by_rater: Mapping[str, RaterFigures]

    def of(self, rater: str) -> RaterFigures:
        """One rater's figures; empty ones of somebody who judged nothing."""
        return self.by_rater.get(rater, RaterFigures())


def compute(state: State) -> Raters:
    """Figures of all people who judged, each seen beside the others; models are no measure of people."""
    try:
        watched = monitors(state.acts, state.groups, gold=state.gold)
    except DataError:  # nobody has chosen anything yet
        return Raters(time.time(), {})
    data, shared = _shared(state)
    model = _model(data, shared)
    return Raters(
        time.time(),
        {
            rater: RaterFigures(
                {monitor.name: monitor for monitor in found},
                shared[rater],
                _of(model, rater) if model and shared[rater] >= LEAST_CHOICES else {},
            )
            for rater, found in watched.items()
        },
    )


def _shared(state: State) -> tuple[Choices, Counter[str]]:
    """All choices, and how many each rater made on pairs that were judged twice or more."""
    data = choices(state.acts, state.groups)
    pairs = list(zip(data.first_N.tolist(), data.second_N.tolist(), strict=True))
    votes = Counter(pairs)
    shared = (r for r, pair in zip(data.rater_N.tolist(), pairs, strict=True) if votes[pair] > 1)
    return data, Counter(data.raters[r] for r in shared)


def _model(data: Choices, shared: Mapping[str, int]) -> RaterModel | None:
    """The joint model, where two people or more have enough choices for it and it found an answer."""
    if sum(n >= LEAST_CHOICES for n in shared.values()) < 2:
        return None
    try:
        return fit(data)
    except DataError:  # it did not converge
        return None


def _of(model: RaterModel, rater: str) -> dict[str, Interval]:
    """A rater's figures; no taste for length where answers are all equally long, which would be the prior alone."""
    found = model.rater(rater)
    return found if model.data.longer.any() else {name: each for name, each in found.items() if name != "length"}
