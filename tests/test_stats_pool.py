"""Pooling by hand: independent half-widths add in squares, those on the same subjects do not shrink."""

from __future__ import annotations

import numpy as np
import pytest

from assent.stats.bootstrap import Interval, mean_interval
from assent.stats.pool import alike, by_world, independent, over_runs


def interval(estimate: float, below: float, above: float, n: int = 10, rows: int = 20) -> Interval:
    return Interval(estimate, estimate - below, estimate + above, n, rows)


def test_independent_runs_by_hand() -> None:
    """Half-widths 0.3 and 0.4 below: sqrt(0.09 + 0.16) / 2 = 0.25; 0.6 and 0.8 above: 0.5."""
    found = independent([interval(0.2, 0.3, 0.6, n=10), interval(0.6, 0.4, 0.8, n=12)])
    assert (found.estimate, found.low, found.high) == pytest.approx((0.4, 0.15, 0.9))
    assert (found.n, found.rows) == (22, 40)


def test_runs_on_the_same_subjects_by_hand() -> None:
    found = alike([interval(0.2, 0.3, 0.6, n=10), interval(0.6, 0.5, 0.8, n=12)])
    assert (found.estimate, found.low, found.high) == pytest.approx((0.4, 0.0, 1.1))
    assert found.n == 12, "the same subjects are not counted twice"


def test_one_run_stays_as_it_is() -> None:
    one = interval(0.2, 0.3, 0.6)
    for pooled in (independent([one]), alike([one]), by_world([("0", one)])):
        assert pooled and (pooled.low, pooled.high) == pytest.approx((one.low, one.high))
    assert by_world([]) is None


def test_worlds_weigh_the_same_however_often_they_were_run() -> None:
    """World a twice (0.0 and 0.2, together 0.1), world b once (0.7): 0.4, half-widths 0.3 and 0.4."""
    runs = [("a", interval(0.0, 0.3, 0.3)), ("a", interval(0.2, 0.3, 0.3)), ("b", interval(0.7, 0.4, 0.4))]
    found = by_world(runs)
    assert found and (found.estimate, found.low) == pytest.approx((0.4, 0.15))


def test_independent_agrees_with_a_bootstrap_of_everything_in_its_strata() -> None:
    """Oracle: draw subjects in each of three worlds at once, and average the three means."""
    rng = np.random.default_rng(0)
    worlds = [rng.normal(mean, 1.0, size=80) for mean in (0.0, 0.5, 2.0)]
    units = [str(i) for i in range(80)]
    found = independent([one for w in worlds if (one := mean_interval(w, units, seed=1))])
    drawn = np.mean([w[rng.integers(0, 80, size=(4000, 80))].mean(1) for w in worlds], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_students_interval_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t of 97.5 % with 2 degrees 4.3027, half-width 4.3027 / sqrt(3)."""
    found = over_runs([1.0, 2.0, 3.0])
    assert found and (found.estimate, found.high) == pytest.approx((2.0, 2 + 4.30265 / 3**0.5), abs=1e-4)
    assert over_runs([1.0]) is None
