"""Several runs as one figure: the mean over runs, with an interval from the runs' own intervals.

Runs of other worlds are independent, so the half-widths of their intervals add in squares, each side by itself:
with S runs the half-width of the mean is sqrt(sum of squares) / S, as it is for a normal estimate. Runs on the same
subjects are not, and nobody knows how they hang together: there the half-widths are averaged, which is right where
the runs err together and too wide where they do not. Both say how well the figure is known **of these runs**. How far
another seed may lie is told by the spread between runs: `over_runs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.stats import t as student

from assent.stats.bootstrap import LEVEL, Interval

_Half = Callable[[list[float]], float]


def independent(found: Sequence[Interval]) -> Interval:
    """The mean of estimates from runs on different subjects; `found` must not be empty."""
    return _mean(found, lambda halves: math.sqrt(sum(h * h for h in halves)) / len(found), sum(i.n for i in found))


def alike(found: Sequence[Interval]) -> Interval:
    """The mean of estimates from runs on the same subjects; `found` must not be empty."""
    return _mean(found, lambda halves: sum(halves) / len(found), max(i.n for i in found))


def _mean(found: Sequence[Interval], half: _Half, n: int) -> Interval:
    estimate = sum(i.estimate for i in found) / len(found)
    low, high = half([i.estimate - i.low for i in found]), half([i.high - i.estimate for i in found])
    return Interval(estimate, estimate - low, estimate + high, n=n, rows=sum(i.rows for i in found))


def by_world(found: Iterable[tuple[str, Interval]]) -> Interval | None:
    """The mean over worlds, of (world, interval) a run: runs of one world are averaged first. None without runs."""
    worlds: dict[str, list[Interval]] = {}
    for world, one in found:
        worlds.setdefault(world, []).append(one)
    return independent([alike(runs) for runs in worlds.values()]) if worlds else None


def over_runs(values: Sequence[float]) -> Interval | None:
    """Mean of one value a run with Student's interval over runs: what another seed may give. None below two runs."""
    count = len(values)
    if count < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(student.ppf((1 + LEVEL) / 2, count - 1)) * error
    return Interval(mean, mean - half, mean + half, n=count, rows=count)
