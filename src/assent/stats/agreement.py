"""Do raters agree? Raw pairwise agreement and Krippendorff's alpha, ties as a category of their own.

Everything is in canonical orientation: a pair of answers is named (a, b) with a < b by answer id, and a
vote says which of these two was better. What stood on the left of a screen plays no part.

    alpha = 1 - observed disagreement / expected disagreement      (Krippendorff 2004, chapter 11)

Nominal: two votes differ or do not. Ordinal: they differ the more, the more votes lie between them.
Good RLHF data has 63 to 77 % agreement, which is an alpha of about .26 to .54.
Shapes: I items (pairs of answers), K categories, U units (prompts), R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.stats.bootstrap import MIN_UNITS, RESAMPLES, Interval, interval_of_sums, mean_interval, unit_sums
from assent.stats.choices import latest

Floats = npt.NDArray[np.float64]

FIRST, TIE, SECOND, BOTH_BAD = "first", "tie", "second", "both_bad"
DEGREES = tuple(str(degree) for degree in range(-3, 4))
"""How much better the first answer of a pair is, from far worse to far better."""


class Vote(NamedTuple):
    """One rater's opinion on one item. `unit` is what the bootstrap draws: a subject or a prompt."""

    unit: str
    item: str
    rater: str
    value: str


def votes(judgments: Iterable[Judgment], groups: Mapping[str, Group]) -> list[Vote]:
    """Every judgment as votes on the pairs of its group, in canonical orientation.

    Left out: skips, judgments that a later one supersedes, and pairs of identical texts. Of two judgments
    of one group by one rater the later counts: the same person agreeing with himself is no agreement.
    """
    listed = list(judgments)
    replaced = {judgment.supersedes for judgment in listed if judgment.supersedes}
    cast: dict[tuple[str, str], Vote] = {}
    for judgment in listed:
        if judgment.id in replaced or judgment.outcome == "skip":
            continue
        if judgment.group not in groups:
            raise DataError(f"judgment {judgment.id} is of group {judgment.group}, which is not given")
        for vote in _votes_of(judgment, groups[judgment.group]):
            cast[vote.item, vote.rater] = vote
    return list(cast.values())


def _votes_of(judgment: Judgment, group: Group) -> Iterable[Vote]:
    tier = {answer: place for place, tied in enumerate(judgment.tiers) for answer in tied}
    for first, second in combinations(sorted(group.answers, key=lambda answer: answer.id), 2):
        if first.text == second.text:
            continue
        if judgment.outcome == "both_bad":
            value = BOTH_BAD
        else:
            gap = tier[first.id] - tier[second.id]
            value = TIE if gap == 0 else FIRST if gap < 0 else SECOND
        yield Vote(group.prompt.subject, f"{group.prompt.id}/{first.id}/{second.id}", judgment.rater, value)


def raw_agreement(
    cast: Sequence[Vote], *, seed: int, resamples: int = RESAMPLES, min_units: int = MIN_UNITS
) -> Interval | None:
    """Chance that two raters of an item said the same, mean over items, with its interval over units.

    None below `min_units` units with an item that has two votes. `rows` counts the items compared.
    """
    counts_IK, units = _counts(cast)
    size_I = counts_IK.sum(axis=1)
    same_I = (counts_IK * (counts_IK - 1)).sum(axis=1) / (size_I * (size_I - 1))
    return mean_interval(same_I, units, seed=seed, resamples=resamples, min_units=min_units)


def nominal_alpha(
    cast: Sequence[Vote], *, seed: int, resamples: int = RESAMPLES, min_units: int = MIN_UNITS
) -> Interval | None:
    """Krippendorff's alpha for nominal data with its interval over units; 1 perfect, 0 chance.

    None when it is not defined (no item with two votes; only one category in use: everyone said the
    same about everything) or below `min_units` units.
    """
    counts_IK, units = _counts(cast)
    if counts_IK.shape[1] < 2:
        return None
    size_I = counts_IK.sum(axis=1)
    unlike_I = (size_I**2 - (counts_IK**2).sum(axis=1)) / (size_I - 1)
    sums_US = unit_sums(np.concatenate([unlike_I[:, None], counts_IK], axis=1), units)
    if len(sums_US) < min_units:
        return None
    return interval_of_sums(sums_US, _alpha, seed=seed, resamples=resamples, rows=len(units))


def degrees(judgments: Iterable[Judgment], groups: Mapping[str, Group]) -> list[Vote]:
    """Votes on groups of two answers whose value is how much better the first is: "-3" .. "3", tie "0".

    Strength counts where it was given, else a choice is a 1. Both-bad has no place in the order and is left out.
    """
    sign = {FIRST: 1, TIE: 0, SECOND: -1}
    return [
        vote._replace(value=str(sign[vote.value] * (judgment.strength or 1)))
        for judgment in latest(judgments)
        if judgment.outcome == "ranked" and len(groups[judgment.group].answers) == 2
        for vote in _votes_of(judgment, groups[judgment.group])
    ]


def ordinal_alpha(
    cast: Sequence[Vote],
    order: Sequence[str] = DEGREES,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    min_units: int = MIN_UNITS,
) -> Interval | None:
    """Krippendorff's alpha for ordered values, see `degrees`, with its interval over units.

    Parameters: `order`, the values from one end to the other. None as for `nominal_alpha`. Raises DataError for a
    value that is not in the order.
    """
    if strange := sorted({vote.value for vote in cast} - set(order)):
        raise DataError(f"the value {strange[0]} has no place in the order {', '.join(order)}")
    counts_IK, units = _counts(cast, order)
    kinds = counts_IK.shape[1]
    if kinds < 2:
        return None
    size_I = counts_IK.sum(axis=1)
    # Coincidences of values c and k within an item, each item weighted so that its votes count once.
    both_IKK = counts_IK[:, :, None] * counts_IK[:, None, :] - np.einsum("ik,kl->ikl", counts_IK, np.eye(kinds))
    both_IS = (both_IKK / (size_I - 1)[:, None, None]).reshape(len(units), -1)
    sums_US = unit_sums(both_IS, units)
    if len(sums_US) < min_units:
        return None
    return interval_of_sums(sums_US, _ordinal, seed=seed, resamples=resamples, rows=len(units))


def _ordinal(sums_RS: Floats) -> Floats:
    """Alpha [R] from coincidence matrices [R, K x K]; distance: votes between two values, their own half."""
    kinds = math.isqrt(sums_RS.shape[1])
    both_RKK = sums_RS.reshape(-1, kinds, kinds)
    count_RK = both_RKK.sum(axis=2)
    middle_RK = np.cumsum(count_RK, axis=1) - count_RK / 2
    far_RKK = (middle_RK[:, :, None] - middle_RK[:, None, :]) ** 2
    observed_R = (both_RKK * far_RKK).sum(axis=(1, 2))
    expected_R = (count_RK[:, :, None] * count_RK[:, None, :] * far_RKK).sum(axis=(1, 2))
    undefined_R = expected_R == 0
    ratio_R = observed_R * (count_RK.sum(axis=1) - 1) / np.where(undefined_R, 1.0, expected_R)
    return np.where(undefined_R, np.nan, 1.0 - ratio_R)


def _alpha(sums_RS: Floats) -> Floats:
    """Alpha [R] from sums of (disagreement, votes of category 1..K); NaN where one category took all."""
    counts_RK = sums_RS[:, 1:]
    total_R = counts_RK.sum(axis=1)
    expected_R = total_R**2 - (counts_RK**2).sum(axis=1)
    undefined_R = expected_R == 0
    ratio_R = sums_RS[:, 0] * (total_R - 1) / np.where(undefined_R, 1.0, expected_R)
    return np.where(undefined_R, np.nan, 1.0 - ratio_R)


def _counts(cast: Sequence[Vote], order: Sequence[str] | None = None) -> tuple[Floats, list[str]]:
    """Votes per item and category [I, K], in `order`, and each item's unit; items of one vote compare nobody."""
    items = {item: i for i, item in enumerate(sorted({vote.item for vote in cast}))}
    kinds = {kind: k for k, kind in enumerate(order or sorted({vote.value for vote in cast}))}
    counts_IK = np.zeros((len(items), len(kinds)))
    unit = [""] * len(items)
    for vote in cast:
        counts_IK[items[vote.item], kinds[vote.value]] += 1
        unit[items[vote.item]] = vote.unit
    kept_I = counts_IK.sum(axis=1) >= 2
    counts_IK = counts_IK[kept_I]
    units = [name for name, keep in zip(unit, kept_I, strict=True) if keep]
    return counts_IK[:, counts_IK.any(axis=0)], units
