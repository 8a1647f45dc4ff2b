"""Telling two classes apart: by hand, the limits, and a planted difference."""

from __future__ import annotations

import random

import pytest

from assent.stats.separation import auc, gap_interval

SEED = 5


def test_auc_by_hand() -> None:
    """Of six comparisons 0.7 wins two, 0.4 wins one and ties one: 3.5 / 6."""
    values, positive = [0.7, 0.4, 0.4, 0.3, 0.8], [True, True, False, False, False]
    assert auc(values, positive) == pytest.approx(3.5 / 6)


def test_limits() -> None:
    assert auc([1.0, 2.0, 3.0], [False, True, True]) == 1.0
    assert auc([3.0, 2.0, 1.0], [False, True, True]) == 0.0
    assert auc([1.0] * 4, [True, False, False, True]) == 0.5
    assert auc([1.0, 2.0], [True, True]) is None and auc([], []) is None


def test_a_planted_gap_is_found_and_its_absence_too() -> None:
    print(f"seed {SEED}")
    draw = random.Random(SEED)
    positive = [draw.random() < 0.3 for _ in range(400)]
    units = [f"u{i // 4}" for i in range(400)]
    noise = [draw.gauss(0, 1) for _ in positive]
    planted = gap_interval([x + 0.5 * flag for x, flag in zip(noise, positive, strict=True)], positive, units, seed=0)
    none = gap_interval(noise, positive, units, seed=0)
    assert planted and none
    assert planted.low > 0 and planted.low < 0.5 < planted.high
    assert none.low < 0 < none.high
    assert planted.estimate - none.estimate == pytest.approx(0.5), "a shift of one class moves the gap by as much"
    assert planted.n == 100


def test_what_cannot_be_told() -> None:
    units = [f"u{i}" for i in range(20)]
    assert gap_interval([1.0] * 20, [True] * 20, units, seed=0) is None
    assert gap_interval([1.0] * 20, [True] * 5 + [False] * 15, ["u"] * 20, seed=0) is None, "one subject is too few"
