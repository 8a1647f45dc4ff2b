"""Do raters agree? Raw pairwise agreement and Krippendorff's alpha, ties as a category of their own.

Everything is in canonical orientation: a pair of answers is named (a, b) with a < b by answer id, and a
vote says which of these two was better. What stood on the left of a screen plays no part.

    alpha = 1 - observed disagreement / expected disagreement      (Krippendorff 2004, chapter 11, nominal)

Good RLHF data has 63 to 77 % agreement, which is an alpha of about .26 to .54.
Shapes: I items (pairs of answers), K categories, U units (prompts), R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.stats.bootstrap import MIN_UNITS, RESAMPLES, Interval, interval_of_sums, mean_interval, unit_sums

Floats = npt.NDArray[np.float64]

FIRST, TIE, SECOND, BOTH_BAD = "first", "tie", "second", "both_bad"


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


def _alpha(sums_RS: Floats) -> Floats:
    """Alpha [R] from sums of (disagreement, votes of category 1..K); NaN where one category took all."""
    counts_RK = sums_RS[:, 1:]
    total_R = counts_RK.sum(axis=1)
    expected_R = total_R**2 - (counts_RK**2).sum(axis=1)
    undefined_R = expected_R == 0
    ratio_R = sums_RS[:, 0] * (total_R - 1) / np.where(undefined_R, 1.0, expected_R)
    return np.where(undefined_R, np.nan, 1.0 - ratio_R)


def _counts(cast: Sequence[Vote]) -> tuple[Floats, list[str]]:
    """Votes per item and category [I, K] and each item's unit; items with a single vote compare nobody."""
    items = {item: i for i, item in enumerate(sorted({vote.item for vote in cast}))}
    kinds = {kind: k for k, kind in enumerate(sorted({vote.value for vote in cast}))}
    counts_IK = np.zeros((len(items), len(kinds)))
    unit = [""] * len(items)
    for vote in cast:
        counts_IK[items[vote.item], kinds[vote.value]] += 1
        unit[items[vote.item]] = vote.unit
    kept_I = counts_IK.sum(axis=1) >= 2
    counts_IK = counts_IK[kept_I]
    units = [name for name, keep in zip(unit, kept_I, strict=True) if keep]
    return counts_IK[:, counts_IK.any(axis=0)], units
