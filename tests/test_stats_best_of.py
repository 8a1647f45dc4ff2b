"""Best-of-n from stored samples: against every subset, against drawing anew, and the bound on its KL."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.stats.best_of import best_of_n, curve, kl_bound, pick_shares, sizes


def enumerated(proxy: list[float], judge: list[float], n: int) -> Fraction:
    """Oracle: the mean over all subsets of n of the judge's value of the answer picked; those that tie share."""
    total, count = Fraction(0), 0
    for subset in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in subset)
        tied = [Fraction(judge[i]) for i in subset if proxy[i] == top]
        total, count = total + sum(tied, Fraction(0)) / len(tied), count + 1
    return total / count


@pytest.mark.parametrize("levels", [2, 3, 100], ids=["many ties", "some ties", "hardly a tie"])
@pytest.mark.parametrize("n", range(1, 8))
def test_it_is_the_mean_over_all_subsets(n: int, levels: int) -> None:
    print("seeds 0 to 9")
    for seed in range(10):
        draw = random.Random(seed)
        proxy = [float(draw.randrange(levels)) for _ in range(7)]
        judge = [float(draw.randint(-5, 5)) for _ in range(7)]
        assert best_of_n(proxy, judge, n) == pytest.approx(float(enumerated(proxy, judge, n)), abs=1e-12)


def test_by_hand() -> None:
    """Of the pairs (1,2) (1,3) (2,3), the last answer is picked in two, the middle one in one."""
    assert pick_shares([1.0, 2.0, 3.0], 2) == pytest.approx([0, 1 / 3, 2 / 3])
    assert best_of_n([1.0, 2.0, 3.0], [30.0, 0.0, 6.0], 2) == pytest.approx(4.0)
    # 5 ties with 5: of the three pairs each is picked with certainty against 1, and half the time against the other.
    assert pick_shares([5.0, 1.0, 5.0], 2) == pytest.approx([1 / 2, 0, 1 / 2])
    assert best_of_n([5.0, 1.0, 5.0], [1.0, 100.0, 0.0], 2) == pytest.approx(0.5)


def test_limits() -> None:
    """One answer: the mean of all. All answers: the judge's value of the best by proxy. All alike: any of them."""
    proxy, judge = [0.3, -1.0, 2.0, 0.9], [4.0, 1.0, -2.0, 8.0]
    assert best_of_n(proxy, judge, 1) == pytest.approx(np.mean(judge))
    assert best_of_n(proxy, judge, 4) == -2.0
    assert best_of_n(proxy, proxy, 4) == 2.0
    for n in range(1, 5):
        assert best_of_n([7.0] * 4, judge, n) == pytest.approx(np.mean(judge))


def test_order_does_not_matter_nor_does_the_scale_of_the_proxy() -> None:
    proxy, judge = [0.1, 0.4, 0.4, -3.0, 2.5], [1.0, 2.0, 4.0, 8.0, 16.0]
    expected = best_of_n(proxy, judge, 3)
    for order in itertools.permutations(range(5)):
        assert best_of_n([proxy[i] for i in order], [judge[i] for i in order], 3) == pytest.approx(expected)
    assert best_of_n([math.exp(p) for p in proxy], judge, 3) == pytest.approx(expected)


def test_it_is_unbiased() -> None:
    """Over all samples of N = 4 from a distribution of three outcomes, its mean is the true best of 2, exactly."""
    outcomes = [(0.0, 5.0, Fraction(1, 2)), (1.0, -1.0, Fraction(1, 3)), (2.0, 3.0, Fraction(1, 6))]

    def expected(size: int, n: int) -> float:
        mean = 0.0
        for sample in itertools.product(outcomes, repeat=size):
            value = best_of_n([p for p, _, _ in sample], [j for _, j, _ in sample], n)
            assert value is not None
            mean += float(math.prod(share for *_, share in sample)) * value
        return mean

    for n in (1, 2, 3):
        true, below = 0.0, Fraction(0)
        for _, judge, share in outcomes:
            true += float((below + share) ** n - below**n) * judge
            below += share
        assert expected(4, n) == pytest.approx(true), n


def test_many_answers_neither_overflow_nor_lose_mass() -> None:
    for total, n in ((5000, 1), (5000, 64), (5000, 2500), (5000, 5000)):
        shares = pick_shares(np.arange(total, dtype=float), n)
        assert shares.sum() == pytest.approx(1.0) and np.isfinite(shares).all()
        assert shares[-1] == pytest.approx(n / total)
    exact = Fraction(math.comb(2999, 63), math.comb(5000, 64))
    assert pick_shares(np.arange(5000.0), 64)[2999] == pytest.approx(float(exact), rel=1e-9)


def test_missing_scores_are_left_out() -> None:
    assert best_of_n([1.0, None, 3.0], [10.0, 99.0, 30.0], 2) == 30.0
    assert best_of_n([1.0, 2.0, 3.0], [10.0, 20.0, None], 2) == 20.0
    assert best_of_n([1.0, None, 3.0], [10.0, 99.0, 30.0], 3) is None
    assert best_of_n([None, None], [1.0, 2.0], 1) is None


@pytest.mark.parametrize("n", [0, -1, 4])
def test_more_than_was_sampled_cannot_be_told(n: int) -> None:
    with pytest.raises(DataError, match=f"best of {n} cannot be told from 3 answers"):
        best_of_n([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n)


# KL


def true_kl(shares: list[float], scores: list[float], n: int) -> float:
    """KL(best-of-n || policy) of a policy over few outcomes, by enumerating what n draws pick; ties share."""
    picked = [0.0] * len(shares)
    for drawn in itertools.product(range(len(shares)), repeat=n):
        top = max(scores[i] for i in drawn)
        tied = [i for i in drawn if scores[i] == top]
        for i in tied:
            picked[i] += math.prod(shares[j] for j in drawn) / len(tied)
    return sum(q * math.log(q / p) for p, q in zip(shares, picked, strict=True) if q)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bound_holds_and_is_reached_where_no_draw_repeats(n: int) -> None:
    """Two of the same outcome make the KL smaller; with ever more outcomes it comes up to the bound."""
    gaps = []
    for outcomes in (2, 8, 32):
        kl = true_kl([1 / outcomes] * outcomes, [float(i) for i in range(outcomes)], n)
        gaps.append(kl_bound(n) - kl)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == pytest.approx(0, abs=0.04) and all(gap >= -1e-12 for gap in gaps)


def test_the_bound_is_loose_where_answers_repeat_or_tie() -> None:
    peaked = true_kl([0.98, 0.02], [1.0, 0.0], 3)
    assert 0 <= peaked < 0.05 * kl_bound(3)
    assert true_kl([0.25] * 4, [1.0] * 4, 3) == pytest.approx(0), "all alike: nothing is picked"
    assert true_kl([0.25] * 4, [0.0, 0.0, 1.0, 1.0], 3) < true_kl([0.25] * 4, [0.0, 1.0, 2.0, 3.0], 3) < kl_bound(3)


def test_the_bound_in_figures() -> None:
    assert kl_bound(1) == 0
    assert kl_bound(2) == pytest.approx(0.6931 - 0.5, abs=1e-4)
    assert kl_bound(10**9) == pytest.approx(9 * math.log(10) - 1, abs=1e-6)


# Over prompts


def test_sizes_are_powers_of_two_and_all() -> None:
    assert [sizes(n) for n in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_a_curve_is_the_mean_over_prompts_with_an_interval_over_subjects() -> None:
    draw = random.Random(3)
    proxy = [[draw.gauss(i % 5, 1) for _ in range(6)] for i in range(40)]
    judge = [[-value for value in row] for row in proxy]
    units = [f"s{i // 2}" for i in range(40)]
    points = curve(proxy, judge, units, 6, seed=0)
    assert [p.n for p in points] == [1, 2, 4, 6]
    for point in points:
        assert point.proxy == pytest.approx(np.mean([best_of_n(row, row, point.n) for row in proxy]))
        assert point.judge == pytest.approx(-point.proxy), "the judge thinks the opposite of what it is shown"
        assert point.proxy_interval and point.proxy_interval.n == 20 and point.proxy_interval.rows == 40
        assert point.proxy_interval.low < point.proxy < point.proxy_interval.high
    assert points[0].proxy == pytest.approx(np.mean(proxy))
    assert [p.proxy for p in points] == sorted(p.proxy for p in points)


def test_a_curve_of_few_prompts_has_means_without_intervals() -> None:
    (one, two) = curve([[1.0, 3.0], [None, 5.0]], None, ["a", "b"], 2, seed=0)
    assert (one.proxy, one.proxy_interval, one.judge, one.judge_interval) == (3.5, None, None, None)
    assert two.proxy == 3.0, "the prompt with one score says nothing about best of 2"
