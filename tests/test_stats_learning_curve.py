"""The learning curve: exact points, coverage, ceilings that are never reached, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.stats.learning_curve import binomial_errors, fit

SIZES = [500.0, 1000.0, 2000.0, 4000.0, 8000.0]


def truth(n: float, ceiling: float = 0.75, size: float = 2.0, slope: float = 0.4) -> float:
    return ceiling - size * n**-slope


def test_exact_points_give_the_curve_and_the_number_that_is_needed() -> None:
    curve = fit(SIZES, [truth(n) for n in SIZES], [1e-5] * 5, seed=0)
    assert curve.accuracy(16000).estimate == pytest.approx(truth(16000), abs=2e-3)
    # 0.75 - 2 n^-0.4 = 0.70 at n = 40^2.5 = 10119.3.
    assert curve.needed(0.70).estimate == pytest.approx(40**2.5, rel=0.05)
    assert curve.more(0.70).estimate == pytest.approx(40**2.5 - 8000, rel=0.25)
    assert curve.more(0.6).estimate == 0.0
    assert curve.needed(0.76).estimate == math.inf


def test_intervals_hold_about_as_often_as_they_say() -> None:
    rng, inside, reached = np.random.default_rng(0), 0, 0
    for seed in range(200):
        error = 0.01
        points = [truth(n) + error * rng.normal() for n in SIZES]
        curve = fit(SIZES, points, [error] * 5, seed=seed)
        further, needed = curve.accuracy(16000), curve.needed(0.70)
        inside += further.low <= truth(16000) <= further.high
        reached += needed.low <= 40**2.5 <= needed.high
    assert 0.88 <= inside / 200 <= 1.0
    assert 0.88 <= reached / 200 <= 1.0


def test_more_noise_says_less_and_a_flat_curve_promises_nothing() -> None:
    points = [truth(n) for n in SIZES]
    sharp, vague = (fit(SIZES, points, [e] * 5, seed=1).accuracy(16000) for e in (0.002, 0.02))
    assert vague.high - vague.low > 3 * (sharp.high - sharp.low)
    flat = fit(SIZES, [0.65] * 5, [0.005] * 5, seed=1)
    assert flat.accuracy(80000).estimate == pytest.approx(0.65)
    assert flat.needed(0.75).estimate == math.inf
    falling = fit(SIZES, [0.70, 0.69, 0.68, 0.67, 0.66], [0.005] * 5, seed=1)
    assert falling.accuracy(16000).estimate == pytest.approx(0.68)


def test_a_curve_stays_under_one_and_the_order_of_points_does_not_matter() -> None:
    points = [0.70, 0.80, 0.88, 0.94, 0.99]
    curve = fit(SIZES, points, [0.02] * 5, seed=2)
    assert curve.draws_D3[:, 0].max() <= 1
    turned = fit(SIZES[::-1], points[::-1], [0.02] * 5, seed=2)
    assert turned.accuracy(16000).estimate == pytest.approx(curve.accuracy(16000).estimate)


def test_errors_of_shares() -> None:
    assert binomial_errors([0.7, 1.0], [996, 96]) == pytest.approx(
        [math.sqrt(0.6992 * 0.3008 / 1000), math.sqrt(0.98 * 0.02 / 100)]
    )


def test_what_cannot_be_fitted_or_asked_is_refused() -> None:
    with pytest.raises(DataError, match="3 sizes are too few"):
        fit([1, 2, 3, 3], [0.5] * 4, [0.1] * 4, seed=0)
    for bad in ([0.0, 1.1, 0.5, 0.5], [math.nan] * 4):
        with pytest.raises(DataError):
            fit([1, 2, 3, 4], bad, [0.1] * 4, seed=0)
    with pytest.raises(DataError):
        fit([1, 2, 3, 4], [0.5] * 4, [0.0] * 4, seed=0)
    curve = fit(SIZES, [0.6] * 5, [0.01] * 5, seed=0)
    with pytest.raises(DataError, match="more than the curve can say"):
        curve.accuracy(80001)
    with pytest.raises(DataError):
        curve.needed(1.0)
