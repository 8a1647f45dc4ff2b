"""Intervals by cluster bootstrap: whole units (subjects, prompts) are drawn again, never single rows.

Rows of one unit resemble each other (four answers to one question), so a bootstrap over rows is too
sure of itself. A mean is a ratio of sums over the drawn units; the interval is the percentile one
(Davison & Hinkley 1997, sections 3.8 and 5.3). Below `MIN_UNITS` units the answer is None: not enough data.

Shapes: N rows, U units, S statistics summed per unit, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.core.seeds import generator

Floats = npt.NDArray[np.float64]
Values = Sequence[float | None] | npt.NDArray[np.floating] | npt.NDArray[np.bool_]

LEVEL = 0.95
RESAMPLES = 2000
MIN_UNITS = 10
"""Fewest units an interval is given for; a percentile bootstrap over fewer is far too narrow."""
BLOCK = 256
"""Resamples drawn at a time, so that memory stays BLOCK x U whatever R is."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, the number of units it was drawn over (`n`) and of rows (`rows`)."""

    estimate: float
    low: float
    high: float
    n: int
    rows: int

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def mean_interval(
    values: Values,
    units: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    min_units: int = MIN_UNITS,
) -> Interval | None:
    """Mean of `values` [N] over rows, its interval over `units` [N]; None below `min_units` units.

    A value of None is missing: its row is left out. NaN or infinity raises DataError.
    """
    kept = [i for i, value in enumerate(values) if value is not None]
    numbers_N, names = _finite(values, kept, units), [units[i] for i in kept]
    sums_US = unit_sums(np.stack([numbers_N, np.ones(len(kept))], axis=1), names)
    if len(sums_US) < min_units:
        return None
    return interval_of_sums(sums_US, _ratio, seed=seed, resamples=resamples, rows=len(kept))


def difference_interval(
    first: Values,
    second: Values,
    units: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    min_units: int = MIN_UNITS,
) -> Interval | None:
    """Paired mean of `first` - `second` [N]; a row with either side None is left out."""
    gaps = [None if a is None or b is None else float(a) - float(b) for a, b in _paired(first, second)]
    return mean_interval(gaps, units, seed=seed, resamples=resamples, min_units=min_units)


def wins(first: Values, second: Values) -> list[float | None]:
    """1 where `first` is higher, 0.5 where equal, 0 where lower, None where either is missing."""
    return [
        None if a is None or b is None else 0.5 + 0.5 * float(np.sign(float(a) - float(b)))
        for a, b in _paired(first, second)
    ]


def win_rate(
    first: Values,
    second: Values,
    units: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    min_units: int = MIN_UNITS,
) -> Interval | None:
    """Share of rows in which `first` scores higher than `second` [N]; ties count half."""
    outcomes = wins(first, second)
    return mean_interval(outcomes, units, seed=seed, resamples=resamples, min_units=min_units)


def unit_sums(values_NS: Floats, units: Sequence[str]) -> Floats:
    """Sums of the rows of each unit [U, S], units sorted by name, so that row order does not matter."""
    if len(values_NS) != len(units):
        raise DataError(f"{len(values_NS)} values but {len(units)} unit names", fix="one unit name per value")
    names, place_N = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    sums_US = np.zeros((len(names), values_NS.shape[1]))
    np.add.at(sums_US, place_N, values_NS)
    return sums_US


def interval_of_sums(
    sums_US: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    seed: int,
    rows: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile interval of any function of summed statistics.

    Parameters: `statistic` maps sums [R, S] to numbers [R]; resamples where it is NaN (undefined) are
    left out. Drawing units with replacement is drawing multinomial counts of them.
    """
    count, rng = len(sums_US), generator(seed, "bootstrap")
    drawn = []
    for start in range(0, resamples, BLOCK):
        times_RU = rng.multinomial(count, np.full(count, 1.0 / count), size=min(BLOCK, resamples - start))
        drawn.append(statistic(times_RU @ sums_US))
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    estimate = statistic(sums_US.sum(axis=0, keepdims=True))[0]
    return Interval(float(estimate), float(low), float(high), n=count, rows=rows)


def _ratio(sums_RS: Floats) -> Floats:
    return np.asarray(sums_RS[:, 0] / sums_RS[:, 1])


def _paired(first: Values, second: Values) -> list[tuple[float | None, float | None]]:
    if len(first) != len(second):
        raise DataError(f"{len(first)} values against {len(second)}, but a pair needs one of each")
    return list(zip(first, second, strict=True))


def _finite(values: Values, kept: Sequence[int], units: Sequence[str]) -> Floats:
    if len(values) != len(units):
        raise DataError(f"{len(values)} values but {len(units)} unit names", fix="one unit name per value")
    numbers_N = np.array([values[i] for i in kept], dtype=float)
    if not np.isfinite(numbers_N).all():
        bad = kept[int(np.flatnonzero(~np.isfinite(numbers_N))[0])]
        raise DataError(f"value {bad} is {values[bad]}: no mean", fix="use None for a missing value")
    return numbers_N
