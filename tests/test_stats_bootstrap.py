"""Intervals: hand-worked numbers, coverage on clustered data, invariances."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.stats.bootstrap import difference_interval, mean_interval, win_rate, wins

SEED = 20240607


def clustered(rng: np.random.Generator, units: int, spread: float) -> tuple[list[float], list[str]]:
    """Rows about 0: each unit has its own level (sd `spread`) and 1 to 8 rows of noise (sd 1)."""
    values: list[float] = []
    names: list[str] = []
    for unit in range(units):
        rows = int(rng.integers(1, 9))
        values += list(rng.normal(0, spread) + rng.normal(size=rows))
        names += [f"u{unit}"] * rows
    return values, names


def coverage(by_unit: bool) -> float:
    """Share of 250 simulated studies whose interval holds the true mean, 0."""
    rng = np.random.default_rng(SEED)
    hits = 0
    for study in range(250):
        values, names = clustered(rng, units=40, spread=1.5)
        units = names if by_unit else [str(i) for i in range(len(values))]
        found = mean_interval(values, units, seed=study, resamples=400)
        assert found is not None
        hits += found.low <= 0 <= found.high
    return hits / 250


def test_interval_over_units_covers_the_truth_and_one_over_rows_does_not() -> None:
    # Binomial noise of 250 studies at .95 is .014; percentile intervals over 40 units reach about .93.
    assert 0.89 <= coverage(by_unit=True) <= 0.99
    assert coverage(by_unit=False) < 0.80


def test_estimate_is_the_mean_over_rows_not_over_units() -> None:
    values, units = [1.0, 1.0, 1.0, 0.0, 0.0], ["a", "a", "a", "b", "c"]
    found = mean_interval(values, units, seed=SEED, min_units=3)
    assert found is not None
    assert found.estimate == pytest.approx(3 / 5)
    assert (found.n, found.rows) == (3, 5)
    # A resample of `a` alone gives 1 and has probability 1/27 > 2.5 %; so does one without `a` (8/27).
    assert (found.low, found.high) == (0.0, 1.0)


def test_interval_matches_the_normal_one_on_many_independent_units() -> None:
    values = [1.0] * 600 + [0.0] * 400
    found = mean_interval(values, [str(i) for i in range(1000)], seed=SEED)
    assert found is not None
    half = 1.96 * (0.6 * 0.4 / 1000) ** 0.5
    assert found.low == pytest.approx(0.6 - half, abs=0.003)
    assert found.high == pytest.approx(0.6 + half, abs=0.003)


def test_rows_in_another_order_and_units_under_other_names_change_nothing() -> None:
    values, units = clustered(np.random.default_rng(SEED), units=30, spread=1.0)
    found = mean_interval(values, units, seed=1)
    turned = mean_interval(values[::-1], units[::-1], seed=1)
    renamed = mean_interval(values, [f"x{unit[1:]}" for unit in units], seed=1)
    assert found is not None and turned is not None
    assert astuple(turned) == pytest.approx(astuple(found))
    assert renamed == found


def test_same_seed_same_interval_other_seed_another() -> None:
    values, units = clustered(np.random.default_rng(SEED), units=30, spread=1.0)
    assert mean_interval(values, units, seed=1) == mean_interval(values, units, seed=1)
    assert mean_interval(values, units, seed=1) != mean_interval(values, units, seed=2)


def test_pairing_removes_what_both_sides_share() -> None:
    rng = np.random.default_rng(SEED)
    shared = rng.normal(0, 10, size=50)
    units = [str(i) for i in range(50)]
    first, second = list(shared + 0.5 + 0.1 * rng.normal(size=50)), list(shared)
    found = difference_interval(first, second, units, seed=SEED)
    alone = mean_interval(first, units, seed=SEED)
    assert found is not None and alone is not None
    assert 0.4 < found.low < 0.5 < found.high < 0.6
    assert alone.high - alone.low > 4


def test_ties_count_half_and_missing_rows_are_left_out() -> None:
    first, second = [1.0, 2.0, None, 3.0, 0.0], [1.0, 1.0, 5.0, None, 4.0]
    assert wins(first, second) == [0.5, 1.0, None, None, 0.0]
    found = win_rate(first, second, ["a", "b", "c", "d", "e"], seed=SEED, min_units=3)
    assert found is not None
    assert found.estimate == pytest.approx(0.5)
    assert (found.n, found.rows) == (3, 3)


def test_win_rates_of_both_sides_add_up_to_one() -> None:
    rng = np.random.default_rng(SEED)
    first, second = list(rng.integers(0, 4, 80) * 1.0), list(rng.integers(0, 4, 80) * 1.0)
    units = [str(i // 2) for i in range(80)]
    one, other = win_rate(first, second, units, seed=3), win_rate(second, first, units, seed=3)
    assert one is not None and other is not None
    assert one.estimate + other.estimate == pytest.approx(1.0)
    assert one.low + other.high == pytest.approx(1.0)


def test_too_few_units_give_no_interval_however_many_rows() -> None:
    assert mean_interval([1.0] * 900, [str(i % 9) for i in range(900)], seed=SEED) is None
    assert mean_interval([1.0] * 900, [str(i % 10) for i in range(900)], seed=SEED) is not None
    assert mean_interval([], [], seed=SEED) is None
    assert mean_interval([None] * 20, [str(i) for i in range(20)], seed=SEED) is None


def test_what_does_not_fit_is_refused_with_one_message() -> None:
    with pytest.raises(DataError, match=r"value 1 is nan.*\n.*None"):
        mean_interval([1.0, float("nan")], ["a", "b"], seed=SEED)
    with pytest.raises(DataError, match="2 values but 1 unit"):
        mean_interval([1.0, 2.0], ["a"], seed=SEED)
    with pytest.raises(DataError, match="2 values against 1"):
        wins([1.0, 2.0], [1.0])
