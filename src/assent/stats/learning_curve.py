"""How many more judgments? A power law through measured accuracies, carried a little further, with intervals.

    accuracy(n) = ceiling - size n^-slope                       size >= 0, slope > 0, ceiling <= 1

(Hestness et al. 2017, arXiv 1712.00409; error as a power of the data above an irreducible part). For a fixed slope
the rest is a weighted line, so a grid over slopes finds the least squares. Intervals are a parametric bootstrap:
points are drawn again from their own errors and the curve is fitted anew. Few points leave the ceiling open, and the
interval then says so: from four sizes that double, little can be said about more than twice the largest.

Points measured on the same held-out pairs err together; their common part moves the whole curve and is not seen here.

Shapes: M points, D draws, S slopes of the grid, X sizes asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.core.seeds import generator
from assent.stats.bootstrap import LEVEL

Floats = npt.NDArray[np.float64]

DRAWS = 1000
SLOPES = np.geomspace(0.05, 2.0, 60)
POINTS = 4
"""Fewest different sizes: three parameters and one to spare."""
FURTHEST = 10.0
"""Nothing is said beyond this multiple of the largest size measured."""


@dataclass(frozen=True)
class Span:
    """An estimate with its 95 % interval; infinity: not within `FURTHEST` times the judgments there are."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve; row 0 of `draws_D3` (ceiling, size, slope) is the fit itself, the others the bootstrap."""

    sizes: tuple[float, ...]
    draws_D3: Floats

    def accuracy(self, n: float) -> Span:
        """Accuracy after `n` judgments. Raises DataError beyond `FURTHEST` times the largest size."""
        most = FURTHEST * max(self.sizes)
        if not 0 < n <= most:
            raise DataError(f"accuracy after {n:g} judgments is more than the curve can say", fix=f"ask up to {most:g}")
        ceiling_D, size_D, slope_D = self.draws_D3.T
        return _span(ceiling_D - size_D * n**-slope_D)

    def needed(self, target: float) -> Span:
        """Judgments in all that reach accuracy `target`; infinite where the curve does not get there."""
        if not 0 < target < 1:
            raise DataError(f"an accuracy of {target} is none", fix="give one between 0 and 1")
        ceiling_D, size_D, slope_D = self.draws_D3.T
        with np.errstate(divide="ignore", over="ignore"):
            n_D = np.where(size_D > 0, (size_D / (ceiling_D - target).clip(1e-300)) ** (1 / slope_D), np.inf)
        n_D = np.where(ceiling_D <= target, np.inf, n_D)
        n_D = np.where((size_D == 0) & (ceiling_D > target), 0.0, n_D)
        return _span(np.where(n_D > FURTHEST * max(self.sizes), np.inf, n_D))

    def more(self, target: float) -> Span:
        """Judgments beyond the largest size measured that reach `target`; 0 where it has been reached."""
        found, have = self.needed(target), max(self.sizes)
        return Span(*(max(0.0, n - have) for n in (found.estimate, found.low, found.high)))


def binomial_errors(accuracies: Sequence[float], pairs: Sequence[int]) -> Floats:
    """Standard errors of accuracies measured on so many held-out pairs each [M].

    Agresti and Coull's two added successes and failures keep an accuracy of 1 from having no error at all.
    """
    n_M = np.asarray(pairs, dtype=float) + 4
    p_M = (np.asarray(accuracies, dtype=float) * (n_M - 4) + 2) / n_M
    return np.asarray(np.sqrt(p_M * (1 - p_M) / n_M))


def fit(
    sizes: Sequence[float], accuracies: Sequence[float], errors: Sequence[float] | Floats, *, seed: int
) -> LearningCurve:
    """Least squares through points: `sizes` [M] judgments, `accuracies` [M], standard `errors` [M].

    Raises DataError for fewer than `POINTS` sizes, or numbers that are no sizes, accuracies or errors.
    """
    n_M, y_M, error_M = (np.asarray(column, dtype=float) for column in (sizes, accuracies, errors))
    if not len(n_M) == len(y_M) == len(error_M):
        raise DataError(f"{len(n_M)} sizes, {len(y_M)} accuracies, {len(error_M)} errors")
    if len(set(n_M.tolist())) < POINTS:
        raise DataError(
            f"{len(set(n_M.tolist()))} sizes are too few for a learning curve",
            fix=f"measure at {POINTS} or more, each about twice the one before",
        )
    if not ((n_M > 0) & (y_M >= 0) & (y_M <= 1) & (error_M > 0) & np.isfinite(error_M)).all():
        raise DataError("sizes and errors must be above 0, accuracies from 0 to 1")
    noise_DM = generator(seed, "learning-curve").normal(size=(DRAWS, len(n_M))) * error_M
    y_DM = y_M + np.concatenate([np.zeros((1, len(n_M))), noise_DM])
    return LearningCurve(tuple(map(float, n_M)), _least_squares(n_M, y_DM, error_M**-2))


@dataclass(frozen=True)
class Reach:
    """A target accuracy, and how many judgments beyond the largest size measured it takes."""

    target: float
    more: Span


@dataclass(frozen=True)
class Outlook:
    """What a fitted curve says: accuracy at twice the largest size, and how far targets are."""

    largest: float
    doubled: Span
    reach: tuple[Reach, ...]


def outlook(measured: Sequence[tuple[float, float, int]]) -> Outlook:
    """The curve through (judgments, accuracy, held-out pairs), asked at the next steps of 2 percent above the best.

    Raises DataError as `fit` does.
    """
    sizes, accuracies, pairs = zip(*measured, strict=True)
    fitted = fit(sizes, accuracies, binomial_errors(accuracies, pairs), seed=0)
    begin = math.floor(max(accuracies) * 50 + 1e-9)
    targets = [step / 50 for step in range(begin + 1, begin + 5) if step < 50]
    reach = tuple(Reach(target, fitted.more(target)) for target in targets)
    return Outlook(max(sizes), fitted.accuracy(2 * max(sizes)), reach)


def _least_squares(n_M: Floats, y_DM: Floats, weight_M: Floats) -> Floats:
    """(ceiling, size, slope) of each draw [D, 3]: a bounded line for every slope of the grid, then the best."""
    best_D, found_D3 = np.full(len(y_DM), np.inf), np.zeros((len(y_DM), 3))
    total, mean_D = weight_M.sum(), y_DM @ weight_M / weight_M.sum()
    for slope in SLOPES:
        x_M = (n_M / n_M[0]) ** -slope
        away_M = x_M - weight_M @ x_M / total
        size_D = -(y_DM @ (weight_M * away_M)) / (weight_M @ away_M**2)
        ceiling_D = mean_D + size_D * (weight_M @ x_M / total)
        # Out of bounds the best of the line lies on the bound: flat, or through a ceiling of 1.
        high_D = ceiling_D > 1
        size_D = np.where(high_D, ((1 - y_DM) @ (weight_M * x_M)) / (weight_M @ x_M**2), size_D)
        ceiling_D = np.where(high_D, 1.0, ceiling_D)
        flat_D = size_D < 0
        size_D, ceiling_D = np.where(flat_D, 0.0, size_D), np.where(flat_D, mean_D.clip(0, 1), ceiling_D)
        loss_D = ((y_DM - ceiling_D[:, None] + size_D[:, None] * x_M) ** 2) @ weight_M
        better_D = loss_D < best_D
        best_D = np.where(better_D, loss_D, best_D)
        row_D3 = np.stack([ceiling_D, size_D * n_M[0] ** slope, np.full(len(y_DM), slope)], axis=1)
        found_D3[better_D] = row_D3[better_D]
    return found_D3


def _span(value_D: Floats) -> Span:
    """The fit's own value, and quantiles by order (infinities are the largest values)."""
    ranked = np.sort(value_D[1:])
    low, high = (ranked[math.floor(q * (len(ranked) - 1))] for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Span(float(value_D[0]), float(low), float(high))
