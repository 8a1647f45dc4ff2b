"""Does a predicted 70 % happen in 70 % of cases? Reliability bins, ECE, Brier, best temperature.

A reward model predicts P(win) = sigmoid(margin). Which answer stands first is arbitrary, so pairs are
folded: the prediction is the favourite's chance, sigmoid(|margin|) >= .5, the outcome whether it won.

ECE is never zero on finite data, even for a perfect model; `perfect_ece` says what such a model of the
same predictions would show. Shapes: N pairs or predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from assent.core.errors import DataError
from assent.core.seeds import generator

Floats = npt.NDArray[np.float64]
Numbers = Sequence[float] | Floats
BINS = 10


class Bin(NamedTuple):
    """Predictions of similar size: their mean, the share that came true, and how many there are."""

    predicted: float
    observed: float
    n: int


def favourites(margins: Numbers) -> tuple[Floats, Floats]:
    """(chance of the favourite [N], whether it won [N]) from margins of the chosen over the rejected.

    A margin of zero has no favourite: chance .5, outcome .5.
    """
    margin_N = np.asarray(margins, dtype=float)
    return _sigmoid(np.abs(margin_N)), 0.5 + 0.5 * np.sign(margin_N)


def reliability(predicted: Numbers, observed: Numbers, bins: int = BINS) -> list[Bin]:
    """Bins of equal mass, in rising order of prediction; equal predictions always share a bin.

    Parameters: `predicted` [N] in 0..1, `observed` [N] in 0..1. Raises DataError if they do not fit.
    """
    predicted_N, observed_N = _checked(predicted, observed)
    place_N = _bin_places(predicted_N, bins)
    return [
        Bin(float(predicted_N[inside].mean()), float(observed_N[inside].mean()), int(inside.sum()))
        for inside in (place_N == place for place in np.unique(place_N))
    ]


def ece(predicted: Numbers, observed: Numbers, bins: int = BINS) -> float | None:
    """Expected calibration error: mean |observed - predicted| over equal-mass bins, weighted by size.

    Naeini et al. 2015; None without data.
    """
    table = reliability(predicted, observed, bins)
    total = sum(row.n for row in table)
    return sum(row.n * abs(row.observed - row.predicted) for row in table) / total if total else None


def perfect_ece(predicted: Numbers, *, seed: int, bins: int = BINS, draws: int = 200) -> float | None:
    """Mean ECE when every prediction is exactly right: outcomes are drawn from the predictions."""
    predicted_N, _ = _checked(predicted, predicted)
    if not len(predicted_N):
        return None
    rng = generator(seed, "perfect-ece")
    place_N = _bin_places(predicted_N, bins)
    gap_DN = (rng.random((draws, len(predicted_N))) < predicted_N) - predicted_N
    per_bin = [np.abs(gap_DN[:, place_N == place].sum(axis=1)) for place in np.unique(place_N)]
    return float(np.sum(per_bin, axis=0).mean() / len(predicted_N))


def brier(predicted: Numbers, observed: Numbers) -> float | None:
    """Mean squared error of the predictions (Brier 1950): 0 perfect, .25 for always saying .5."""
    predicted_N, observed_N = _checked(predicted, observed)
    return float(((predicted_N - observed_N) ** 2).mean()) if len(predicted_N) else None


def best_temperature(margins: Numbers) -> float | None:
    """T > 0 that maximises the likelihood of sigmoid(margin / T); > 1 means over-confident.

    Guo et al. 2017, section 4.2. None where no finite T is best: the margins are right every time
    (T -> 0) or no better than chance (T -> infinity). The likelihood is concave in 1/T, so the slope
    has one root.
    """
    margin_N = np.asarray(margins, dtype=float)
    if not len(margin_N) or margin_N.min() >= 0 or margin_N.sum() <= 0:
        return None
    unit_N = margin_N / np.abs(margin_N).max()

    def slope(inverse: float) -> float:
        return float((unit_N * _sigmoid(-inverse * unit_N)).sum())

    high = 1.0
    while slope(high) > 0:
        high *= 2
    return float(np.abs(margin_N).max() / brentq(slope, 0.0, high, xtol=1e-12))


def cross_fitted(margins: Numbers, units: Sequence[str]) -> Floats | None:
    """Margins [N], each divided by the best temperature of the other half of the units.

    Calibration is measured on pairs it was not fitted on. None where a half has no best temperature.
    """
    margin_N = np.asarray(margins, dtype=float)
    _, place_N = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    scaled_N = np.empty_like(margin_N)
    for half in (0, 1):
        inside_N = place_N % 2 == half
        temperature = best_temperature(margin_N[~inside_N])
        if temperature is None:
            return None
        scaled_N[inside_N] = margin_N[inside_N] / temperature
    return scaled_N


def _bin_places(predicted_N: Floats, bins: int) -> npt.NDArray[np.int64]:
    edges = np.quantile(predicted_N, np.linspace(0, 1, bins + 1)[1:-1]) if len(predicted_N) else np.zeros(0)
    return np.searchsorted(np.unique(edges), predicted_N, side="left")


def _checked(predicted: Numbers, observed: Numbers) -> tuple[Floats, Floats]:
    predicted_N, observed_N = np.asarray(predicted, dtype=float), np.asarray(observed, dtype=float)
    if predicted_N.shape != observed_N.shape:
        raise DataError(f"{predicted_N.size} predictions but {observed_N.size} outcomes")
    for name, values_N in (("prediction", predicted_N), ("outcome", observed_N)):
        if not ((values_N >= 0) & (values_N <= 1)).all():
            raise DataError(f"a {name} is outside 0..1", fix="give probabilities, not margins")
    return predicted_N, observed_N


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -value)))
