"""Calibration: worked by hand, silent on a calibrated model, loud on a planted temperature."""

from __future__ import annotations

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.stats.calibration import (
    best_temperature,
    brier,
    cross_fitted,
    ece,
    favourites,
    perfect_ece,
    reliability,
)

SEED = 3


def simulated(count: int, temperature: float) -> np.ndarray:
    """Margins of chosen over rejected when the stated margins are `temperature` times too large."""
    rng = np.random.default_rng(SEED)
    margin = rng.normal(0, 1.5, count)
    right = rng.random(count) < 1 / (1 + np.exp(-np.abs(margin)))
    return temperature * np.where(right, np.abs(margin), -np.abs(margin))


def test_bins_ece_and_brier_worked_by_hand() -> None:
    predicted, observed = [0.9, 0.6, 0.6, 0.9], [1, 0, 1, 1]
    table = reliability(predicted, observed, bins=2)
    assert [(row.predicted, row.observed, row.n) for row in table] == [
        (pytest.approx(0.6), 0.5, 2),
        (pytest.approx(0.9), 1.0, 2),
    ]
    assert ece(predicted, observed, bins=2) == pytest.approx(0.1)
    assert brier(predicted, observed) == pytest.approx((0.01 + 0.36 + 0.16 + 0.01) / 4)


def test_bins_have_equal_mass_and_keep_equal_predictions_together() -> None:
    spread = reliability(np.linspace(0.5, 0.99, 100), np.ones(100), bins=10)
    assert [row.n for row in spread] == [10] * 10
    assert [row.predicted for row in spread] == sorted(row.predicted for row in spread)
    lumpy = reliability([0.5] * 90 + [0.9] * 10, np.ones(100), bins=10)
    assert [row.n for row in lumpy] == [90, 10]


def test_order_plays_no_part_and_flipping_every_pair_turns_right_into_wrong() -> None:
    margin = simulated(300, 1.0)
    chance, won = favourites(margin)
    assert ece(chance[::-1], won[::-1]) == pytest.approx(ece(chance, won))
    flipped_chance, flipped_won = favourites(-margin)
    assert (flipped_chance == chance).all()
    assert (flipped_won == 1 - won).all()
    assert [array.tolist() for array in favourites([0.0])] == [[0.5], [0.5]]


def test_a_calibrated_model_shows_the_ece_a_perfect_one_would_and_an_overconfident_one_more() -> None:
    for temperature, factor in [(1.0, (0.3, 2.0)), (3.0, (4.0, 100.0))]:
        chance, won = favourites(simulated(2000, temperature))
        found, floor = ece(chance, won), perfect_ece(chance, seed=SEED)
        assert found is not None and floor is not None
        assert factor[0] < found / floor < factor[1]


def test_perfect_ece_shrinks_as_data_grow() -> None:
    few, many = (perfect_ece(np.full(count, 0.7), seed=SEED, bins=1) for count in (100, 10_000))
    assert few is not None and many is not None
    # Mean of |Binomial(n, .7) / n - .7| is about sqrt(2 * .21 / (pi n)).
    assert few == pytest.approx((2 * 0.21 / np.pi / 100) ** 0.5, rel=0.15)
    assert many == pytest.approx(few / 10, rel=0.15)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_best_temperature_finds_the_planted_one(planted: float) -> None:
    assert best_temperature(simulated(20_000, planted)) == pytest.approx(planted, rel=0.05)


def test_best_temperature_worked_by_hand() -> None:
    # Margin 2 is right 3 times in 4: sigmoid(2 / T) = 3/4, so T = 2 / log 3.
    assert best_temperature([2.0, 2.0, 2.0, -2.0]) == pytest.approx(2 / np.log(3))


def test_no_temperature_where_none_is_best() -> None:
    assert best_temperature([1.0, 2.0]) is None
    assert best_temperature([1.0, -1.0]) is None
    assert best_temperature([-1.0, -2.0]) is None
    assert best_temperature([]) is None
    assert best_temperature([1e300, -1e299]) is not None


def test_extreme_margins_stay_finite() -> None:
    chance, won = favourites([1e4, -1e4])
    assert chance.tolist() == [1.0, 1.0]
    assert brier(chance, won) == 0.5


def test_no_data_gives_no_number_and_nonsense_is_refused() -> None:
    assert (ece([], []), brier([], []), perfect_ece([], seed=0)) == (None, None, None)
    assert reliability([], []) == []
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        ece([2.0], [1.0])
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        brier([float("nan")], [1.0])
    with pytest.raises(DataError, match="2 predictions but 1"):
        brier([0.1, 0.2], [1.0])


def test_each_half_is_calibrated_by_the_other() -> None:
    """Units a and c are one half: their margins take the temperature of b and d, and the reverse."""
    margin, units = [2.0, -1.0, 6.0, -2.0], ["a", "c", "b", "d"]
    first, second = best_temperature(margin[:2]), best_temperature(margin[2:])
    assert first and second and first != pytest.approx(second)
    found = cross_fitted(margin, units)
    assert found is not None
    assert found.tolist() == pytest.approx([2 / second, -1 / second, 6 / first, -2 / first])
    assert cross_fitted([1.0, 1.0, 6.0, -2.0], units) is None, "a half that is always right has no temperature"
    assert cross_fitted([], []) is None


def test_it_mends_a_planted_temperature_on_pairs_it_did_not_see() -> None:
    margin = simulated(2000, 3.0)
    fitted = cross_fitted(margin, [f"u{i}" for i in range(2000)])
    assert fitted is not None
    before, after = ece(*favourites(margin)), ece(*favourites(fitted))
    assert before and after and after < before / 3
