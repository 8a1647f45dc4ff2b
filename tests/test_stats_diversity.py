"""Diversity: worked by hand, at its limits, and blind to what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from assent.stats.diversity import adjusted_distinct, distinct_n, distinct_pairs


def test_worked_by_hand() -> None:
    # Of the 6 pairs among a a b c only (a, a) is equal.
    assert distinct_pairs(["a", "a", "b", "c"]) == pytest.approx(5 / 6)
    # Bigrams: ab bc | ab: 3 of which 2 distinct; none across samples.
    assert distinct_n(["abc", "ab"], 2) == pytest.approx(2 / 3)
    # V = 2, C = 3: expected 2 (1 - (1/2)^3) = 7/4.
    assert adjusted_distinct(["aba"], 1, vocabulary=2) == pytest.approx(2 / (7 / 4))


def test_limits() -> None:
    assert distinct_pairs(["x"] * 8) == 0.0
    assert distinct_pairs([str(i) for i in range(8)]) == 1.0
    assert distinct_pairs(["only"]) is None
    assert distinct_n(["a"], 2) is None
    assert adjusted_distinct([], 1, vocabulary=5) is None


def test_distinct_pairs_does_not_drift_with_the_number_of_samples() -> None:
    rng = np.random.default_rng(2)
    mean = [
        np.mean([distinct_pairs(list(rng.choice(list("abcd"), count))) for _ in range(2000)]) for count in (2, 4, 12)
    ]
    assert mean == pytest.approx([0.75] * 3, abs=0.02)


def test_adjusted_distinct_does_not_fall_with_length_where_distinct_n_does() -> None:
    rng = np.random.default_rng(2)
    short, long = ([rng.integers(0, 50, length).tolist() for _ in range(10)] for length in (5, 50))
    plain = [distinct_n(samples, 1) for samples in (short, long)]
    adjusted = [adjusted_distinct(samples, 1, vocabulary=50) for samples in (short, long)]
    assert plain[0] is not None and plain[1] is not None
    assert plain[1] < plain[0] / 3
    assert adjusted == pytest.approx([1.0, 1.0], abs=0.15)


def test_order_plays_no_part() -> None:
    texts = ["a b", "b a", "a b", "c"]
    assert distinct_pairs(texts) == distinct_pairs(texts[::-1])
    assert distinct_n([t.split() for t in texts], 1) == distinct_n([t.split() for t in texts[::-1]], 1)
