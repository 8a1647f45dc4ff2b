"""Whose tastes weigh how much: agreement and preference by what raters told of themselves, never of fewer than five.

A value that fewer than `K` of the raters who voted have is not shown: it is merged into "other". If "other" itself
has fewer than `K`, the smallest shown value goes with it, so that nothing can be had by subtraction (k-anonymity,
Sweeney 2002, with complementary suppression). With one slice left there is nothing to compare: no slices at all.
Raters who told nothing are "not told", a value like any other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assent.core.errors import DataError
from assent.core.records import Rater
from assent.stats.agreement import FIRST, SECOND, Vote, raw_agreement
from assent.stats.bootstrap import Interval, mean_interval

K = 5
"""Fewest raters of a slice."""
OTHER, NOT_TOLD = "other", "not told"


@dataclass(frozen=True)
class Slice:
    """Raters who share a value. Intervals are over units, None below the least number of units."""

    value: str
    raters: int
    votes: int
    weight: float
    """Share of all votes: how much this slice's taste counts in the data."""
    within: Interval | None
    """Agreement of its raters with each other."""
    across: Interval | None
    """Share of the other slices' votes on the same pairs that say the same as a vote of this one."""
    preference: Interval | None
    """Share of choices for the answer of each pair that has the trait (longer, say); None without a trait."""


def slices(
    cast: Sequence[Vote],
    raters: Sequence[Rater],
    attribute: str,
    *,
    trait: Mapping[str, str] | None = None,
    k: int = K,
    seed: int = 0,
) -> list[Slice]:
    """Slices of the pool by `attribute`, largest first; empty where k-anonymity leaves fewer than two.

    Parameters: `trait`, item -> `first` or `second`, the answer of the pair that has it; items without are left
    out. Raises DataError where a voter is not among `raters`, or k < `K`.
    """
    if k < K:
        raise DataError(f"slices of {k} raters would tell of single people", fix=f"give {K} or more")
    told = {rater.id: str(rater.attributes.get(attribute, NOT_TOLD)) for rater in raters}
    if strange := sorted({vote.rater for vote in cast} - told.keys()):
        raise DataError(f"rater {strange[0]} voted but is not among the raters")
    of = merged({rater: told[rater] for rater in {vote.rater for vote in cast}}, k)
    count = Counter(of.values())
    if len(count) < 2:
        return []
    found = [_slice(value, cast, of, trait or {}, seed) for value in count]
    return sorted(found, key=lambda one: (-one.raters, one.value))


def merged(told: Mapping[str, str], k: int = K) -> dict[str, str]:
    """Rater -> the value he is shown under; every value is had by `k` raters or more, or all are "other"."""
    of = dict(told)
    while small := {value for value, n in Counter(of.values()).items() if n < k}:
        large = {value: n for value, n in Counter(of.values()).items() if value not in small | {OTHER}}
        if small == {OTHER} and not large:
            return of
        if small == {OTHER}:
            small = {min(large, key=lambda value: (large[value], value))}
        of = {rater: OTHER if value in small else value for rater, value in of.items()}
    return of


def _slice(value: str, cast: Sequence[Vote], of: Mapping[str, str], trait: Mapping[str, str], seed: int) -> Slice:
    own = [vote for vote in cast if of[vote.rater] == value]
    others: dict[str, list[str]] = defaultdict(list)
    for vote in cast:
        if of[vote.rater] != value:
            others[vote.item].append(vote.value)
    shared = [vote for vote in own if others[vote.item]]
    same = [sum(v == vote.value for v in others[vote.item]) / len(others[vote.item]) for vote in shared]
    chosen = [vote for vote in own if vote.item in trait and vote.value in (FIRST, SECOND)]
    has = [float(vote.value == trait[vote.item]) for vote in chosen]
    return Slice(
        value,
        raters=len({vote.rater for vote in own}),
        votes=len(own),
        weight=len(own) / len(cast),
        within=raw_agreement(own, seed=seed),
        across=mean_interval(same, [vote.unit for vote in shared], seed=seed),
        preference=mean_interval(has, [vote.unit for vote in chosen], seed=seed),
    )
