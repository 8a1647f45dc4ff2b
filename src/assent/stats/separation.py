"""Does a number tell two classes apart? The chance that it ranks them right, and the gap of their means.

Shapes: N rows, U units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from assent.stats.bootstrap import MIN_UNITS, Interval, interval_of_sums, unit_sums

Floats = npt.NDArray[np.float64]


def auc(values: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Chance that a positive row has the larger value of two, ties half; None where one class is missing.

    Mann and Whitney 1947; .5 says nothing.
    """
    yes_N = np.asarray(positive, dtype=bool)
    n, m = int(yes_N.sum()), int((~yes_N).sum())
    if not n or not m:
        return None
    ranks_N = rankdata(np.asarray(values, dtype=float))
    return float((ranks_N[yes_N].sum() - n * (n + 1) / 2) / (n * m))


def gap_interval(
    values: Sequence[float], positive: Sequence[bool], units: Sequence[str], *, seed: int
) -> Interval | None:
    """Mean of `values` [N] over positive rows less that over the others, with its interval by unit [N].

    None below `MIN_UNITS` units, or where one class is missing.
    """
    yes_N, value_N = np.asarray(positive, dtype=float), np.asarray(values, dtype=float)
    if not yes_N.any() or yes_N.all():
        return None
    sums_US = unit_sums(np.stack([value_N * yes_N, yes_N, value_N * (1 - yes_N), 1 - yes_N], axis=1), units)
    if len(sums_US) < MIN_UNITS:
        return None
    return interval_of_sums(sums_US, _gap, seed=seed, rows=len(value_N))


def _gap(sums_RS: Floats) -> Floats:
    """A resample without one of the classes has no gap: NaN, and left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums_RS[:, 0] / sums_RS[:, 1] - sums_RS[:, 2] / sums_RS[:, 3])
