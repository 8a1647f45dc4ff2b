"""What is watched of each rater, every figure with its n and interval, and nothing flagged on little data.

A monitor is flagged when it has its minimum n **and** its 95 % interval leaves out what is expected, on the side that
is watched. Where nothing is wrong that still happens by chance, up to once in 20: a flag is a reason to look.

| monitor | estimate | expected | flagged when | minimum n |
|---|---|---|---|---|
| left | share of choices for the answer shown left | .5 | either side | 194 choices |
| ties | share of ties | share of the others' | either side | 100 judgments |
| length | log-odds of the longer answer, a typical log length difference | slope of the others' | either side | 100 |
| gold | share of gold pairs ordered right, a tie half | `GOLD` | below | 20 judgments |
| agreement | share of the others' votes that say the same, over pairs | the others' own | below | 30 pairs |
| repeats | share of repeated judgments that say the same | `REPEATS` | below | 20 |
| seconds | median time of a judgment | a third of the others' median | below | 30 |

The pairs of one ranking of K answers count as K - 1 choices.

Shapes: N choices or judgments of one rater.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import binom, norm

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.stats.agreement import Vote, votes
from assent.stats.bootstrap import LEVEL, Interval, mean_interval
from assent.stats.choices import Choices, choices, latest

Floats = npt.NDArray[np.float64]
Tiers = Sequence[Sequence[str]]
Z = float(norm.ppf((1 + LEVEL) / 2))

GOLD, REPEATS, HASTE = 0.7, 0.6, 1 / 3
"""Least accuracy on gold pairs, least self-agreement, and the share of the others' median time that is hasty."""
LEAST = {"left": 194, "ties": 100, "length": 100, "gold": 20, "agreement": 30, "repeats": 20, "seconds": 30}
"""Minimum n of each monitor. Left: `choices_needed(0.6)`."""
BANDS = ((0.20, "guideline problem"), (0.35, "typical"), (0.55, "good"))
"""Alpha below the figure is called so; from .55 it is `very good`."""


@dataclass(frozen=True)
class Monitor:
    """One figure of one rater. `found` None: nothing to estimate from."""

    name: str
    found: Interval | None
    n: int
    expected: float | None
    """What no reason to look would give; None where the others gave nothing to compare with."""
    watched: Literal["either", "below"]

    @property
    def minimum(self) -> int:
        """Fewest n on which it may be flagged."""
        return LEAST[self.name]

    @property
    def enough(self) -> bool:
        """Whether n reaches the minimum: else say "not enough data"."""
        return self.n >= self.minimum

    @property
    def flagged(self) -> bool:
        """Enough data, and the interval leaves out what is expected on the watched side."""
        if not self.enough or self.found is None or self.expected is None:
            return False
        return self.found.high < self.expected or (self.watched == "either" and self.found.low > self.expected)


def band(alpha: float) -> str:
    """What we call an alpha of preference data: guideline problem, typical, good, very good."""
    return next((name for limit, name in BANDS if alpha < limit), "very good")


def choices_needed(share: float, *, power: float = 0.8, level: float = LEVEL) -> int:
    """Choices that show a side preference of `share` with the given power: 194 for .60, 783 for .55.

    n = ((z_level sqrt(.25) + z_power sqrt(share (1 - share))) / (share - .5))^2, rounded up: the two-sided
    test of p = .5 by the normal approximation (Fleiss et al. 2003, eq. 2.12). See `power` for the exact test.
    """
    if not 0 < share < 1 or share == 0.5:
        raise DataError(f"a share of {share} is no preference to be shown", fix="give one in 0..1 that is not .5")
    reach = norm.ppf((1 + level) / 2) / 2 + norm.ppf(power) * math.sqrt(share * (1 - share))
    return math.ceil(float((reach / (share - 0.5)) ** 2))


def power(n: int, share: float, *, level: float = LEVEL) -> float:
    """Chance that the exact binomial test of p = .5 on n choices is significant where the truth is `share`.

    It is a saw: the exact test keeps below its level, so it needs a few choices more than `choices_needed`.
    """
    cut = int(binom.ppf((1 - level) / 2, n, 0.5))
    cut -= int(binom.cdf(cut, n, 0.5) > (1 - level) / 2)
    return float(binom.cdf(cut, n, share) + binom.sf(n - cut - 1, n, share))


def share_interval(hits: float, n: float) -> Interval | None:
    """Wilson's (1927) score interval of a share; None of nothing. `n` may be a sum of weights."""
    if n <= 0:
        return None
    p, room = hits / n, Z * Z / n
    centre, half = (p + room / 2) / (1 + room), Z * math.sqrt(p * (1 - p) / n + room / (4 * n)) / (1 + room)
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half), n=round(n), rows=round(n))


def slope_interval(longer_N: Floats, won_N: npt.NDArray[np.bool_], weight_N: Floats | None = None) -> Interval | None:
    """Logistic slope of `won_N` on `longer_N` without intercept, by Newton.

    None where it is unbounded: the longer answer, or the shorter one, won every time.
    """
    if not ((longer_N > 0) == won_N)[longer_N != 0].any() or not ((longer_N < 0) == won_N)[longer_N != 0].any():
        return None
    weight_N = np.ones(len(won_N)) if weight_N is None else weight_N
    slope = 0.0
    for _ in range(100):
        chance_N = expit(slope * longer_N)
        information = float((weight_N * chance_N * (1 - chance_N)) @ longer_N**2)
        step = float((weight_N * (won_N - chance_N)) @ longer_N) / information
        slope += float(np.clip(step, -1, 1))
        if abs(step) < 1e-10:
            break
    half, n = Z / math.sqrt(information), round(float(weight_N.sum()))
    return Interval(slope, slope - half, slope + half, n=n, rows=len(won_N))


def median_interval(values: Sequence[float]) -> Interval | None:
    """Median with the distribution-free interval between order statistics; None below 6 values."""
    n = len(values)
    if n < 6:
        return None
    ranked = sorted(values)
    below = int(binom.ppf((1 - LEVEL) / 2, n, 0.5)) - 1
    return Interval(float(np.median(ranked)), ranked[max(below, 0)], ranked[n - 1 - max(below, 0)], n=n, rows=n)


def monitors(
    judgments: Iterable[Judgment],
    groups: Mapping[str, Group],
    *,
    gold: Mapping[str, Tiers] | None = None,
    seed: int = 0,
) -> dict[str, list[Monitor]]:
    """Rater -> his monitors, in the order of `LEAST`.

    Parameters: `gold`, group id -> the right tiers. Skipped, superseded and earlier repeated judgments count only
    for repeats. Gold judgments are left out of agreement: there a right answer was fixed beforehand.
    """
    listed = list(judgments)
    said, key = latest(listed), gold or {}
    data = choices(listed, groups)
    cast = votes([j for j in listed if not j.is_gold and j.group not in key], groups)
    every = (
        _left(data),
        _ties(data),
        _length(data),
        _gold(said, key),
        _agreement(cast, seed),
        _repeats(listed),
        _seconds(said),
    )
    return {rater: [by_rater[rater] for by_rater in every if rater in by_rater] for rater in data.raters}


Found = dict[str, Monitor]


def _left(data: Choices) -> Found:
    """Only pairs in which both sides are known and one was chosen; of longer lists the place counts by its sign."""
    left_N = data.outcome_N * np.sign(data.side_N)
    found = {}
    for r, rater in enumerate(data.raters):
        own_N = left_N[(data.rater_N == r) & (left_N != 0)]
        found[rater] = Monitor("left", share_interval(float((own_N > 0).sum()), len(own_N)), len(own_N), 0.5, "either")
    return found


def _ties(data: Choices) -> Found:
    tied_N, found = data.outcome_N == 0, {}
    for r, rater in enumerate(data.raters):
        own_N = data.weight_N * (data.rater_N == r)
        rest_N, n = data.weight_N - own_N, float(own_N.sum())
        expected = float(rest_N @ tied_N / rest_N.sum()) if rest_N.any() else None
        found[rater] = Monitor("ties", share_interval(float(own_N @ tied_N), n), round(n), expected, "either")
    return found


def _length(data: Choices) -> Found:
    decided_N, found = data.outcome_N != 0, {}
    for r, rater in enumerate(data.raters):
        own_N, rest_N = decided_N & (data.rater_N == r), decided_N & (data.rater_N != r)
        own, rest = (
            slope_interval(data.longer[kept], data.outcome_N[kept] > 0, data.weight_N[kept]) for kept in (own_N, rest_N)
        )
        expected = rest.estimate if rest else None
        found[rater] = Monitor("length", own, round(float(data.weight_N[own_N].sum())), expected, "either")
    return found


def gold_share(judgment: Judgment, right: Tiers) -> float | None:
    """Share of the pairs that gold orders which a judgment orders the same; a tie or both-bad is half right."""
    place = {answer: p for p, tied in enumerate(judgment.tiers) for answer in tied}
    pairs = [(i, j) for a, high in enumerate(right) for low in right[a + 1 :] for i in high for j in low]
    marks = [0.5 + 0.5 * float(np.sign(place.get(j, 0) - place.get(i, 0))) for i, j in pairs]
    return sum(marks) / len(marks) if marks else None


def _gold(said: Sequence[Judgment], key: Mapping[str, Tiers]) -> Found:
    shares: dict[str, list[float]] = defaultdict(list)
    for judgment in said:
        share = gold_share(judgment, key[judgment.group]) if judgment.group in key else None
        shares[judgment.rater] += [] if share is None else [share]
    return {r: Monitor("gold", share_interval(sum(s), len(s)), len(s), GOLD, "below") for r, s in shares.items()}


def _agreement(cast: Sequence[Vote], seed: int) -> Found:
    """Leave one out: a rater against the others of each pair, beside the others against each other."""
    by_item: dict[str, list[Vote]] = defaultdict(list)
    for vote in cast:
        by_item[vote.item].append(vote)
    own: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
    same_all, pairs_all = 0, 0
    same_of: dict[str, int] = defaultdict(int)
    pairs_of: dict[str, int] = defaultdict(int)
    for item in by_item.values():
        for vote in item:
            others = [other.value == vote.value for other in item if other.rater != vote.rater]
            if others:
                own[vote.rater].append((vote.unit, sum(others) / len(others), len(others)))
            same_of[vote.rater] += sum(others)
            pairs_of[vote.rater] += len(others)
            same_all, pairs_all = same_all + sum(others), pairs_all + len(others)
    found = {}
    for rater in {vote.rater for vote in cast}:
        units, shares = [unit for unit, _, _ in own[rater]], [share for _, share, _ in own[rater]]
        left = pairs_all - 2 * pairs_of[rater]
        expected = (same_all - 2 * same_of[rater]) / left if left else None
        found[rater] = Monitor("agreement", mean_interval(shares, units, seed=seed), len(shares), expected, "below")
    return found


def _repeats(listed: Sequence[Judgment]) -> Found:
    """Successive judgments of one group by one rater; a correction (supersedes) is no repeat."""
    replaced = {judgment.supersedes for judgment in listed if judgment.supersedes}
    earlier: dict[tuple[str, str], Judgment] = {}
    same: dict[str, list[bool]] = defaultdict(list)
    for judgment in listed:
        same[judgment.rater] += []
        if judgment.id in replaced or judgment.outcome == "skip":
            continue
        before = earlier.get((judgment.group, judgment.rater))
        if before is not None:
            same[judgment.rater].append(_verdict(before) == _verdict(judgment))
        earlier[judgment.group, judgment.rater] = judgment
    return {r: Monitor("repeats", share_interval(sum(s), len(s)), len(s), REPEATS, "below") for r, s in same.items()}


def _verdict(judgment: Judgment) -> tuple[str, list[list[str]]]:
    return judgment.outcome, [sorted(tier) for tier in judgment.tiers]


def _seconds(said: Sequence[Judgment]) -> Found:
    """`times["visible_ms"]`, where it was measured."""
    timed = [(j.rater, j.times["visible_ms"] / 1000) for j in said if "visible_ms" in j.times]
    found = {}
    for rater in {judgment.rater for judgment in said}:
        own, rest = [t for who, t in timed if who == rater], [t for who, t in timed if who != rater]
        expected = HASTE * float(np.median(rest)) if rest else None
        found[rater] = Monitor("seconds", median_interval(own), len(own), expected, "below")
    return found
