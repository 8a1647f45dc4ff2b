"""What raters chose, as arrays: the input of the rater model and of the monitors.

Every row is one rater's word on one pair of answers of a group, in canonical orientation: `first` is the answer
with the smaller id. What stood on which side of the screen is a column of its own.

Shapes: N choices, A answers, R raters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.core.records import Group, Judgment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """Choices [N] between answers [A] by raters [R]. Answers of one group stand together."""

    answers: tuple[str, ...]
    group_A: Ints
    """Number of each answer's group, rising."""
    length_A: Floats
    """log(1 + characters), in units of the root mean square difference within pairs."""
    raters: tuple[str, ...]
    first_N: Ints
    second_N: Ints
    rater_N: Ints
    outcome_N: Floats
    """1 the first is better, -1 the second, 0 a tie (or both bad)."""
    side_N: Floats
    """1 the first was shown first (left), -1 second; between in longer lists; 0 unknown."""
    weight_N: Floats
    """2 / K for a pair out of a judgment of K answers: K ranked answers count as K - 1 choices."""

    @cached_property
    def longer(self) -> Floats:
        """z(log length difference), first less second [N]."""
        return np.asarray(self.length_A[self.first_N] - self.length_A[self.second_N])

    @cached_property
    def tie_level(self) -> float:
        """log(2 p / (1 - p)) of the share p of ties: Davidson's t where answers are alike.

        Half a choice is added to either side (Haldane 1956), which keeps it finite where nobody ties or all do.
        """
        tied, every = float(self.weight_N[self.outcome_N == 0].sum()), float(self.weight_N.sum())
        return float(np.log(2 * (tied + 0.5) / (every - tied + 0.5)))

    def rows(self, kept: npt.NDArray[np.bool_] | Ints) -> Choices:
        """Some of the choices, by mask or by number; answers and raters keep their numbers."""
        names = ("first_N", "second_N", "rater_N", "outcome_N", "side_N", "weight_N")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def of_arrays(
    *,
    group_A: Sequence[int] | Ints,
    length_A: Sequence[float] | Floats,
    first_N: Sequence[int] | Ints,
    second_N: Sequence[int] | Ints,
    rater_N: Sequence[int] | Ints,
    outcome_N: Sequence[float] | Floats,
    side_N: Sequence[float] | Floats,
    weight_N: Sequence[float] | Floats | None = None,
    answers: Sequence[str] | None = None,
    raters: Sequence[str] | None = None,
) -> Choices:
    """Checked arrays. `length_A` counts characters. Raises DataError where the arrays do not fit together."""
    group = np.asarray(group_A, dtype=np.int64)
    first, second, rater = (np.asarray(column, dtype=np.int64) for column in (first_N, second_N, rater_N))
    outcome, side = np.asarray(outcome_N, dtype=float), np.asarray(side_N, dtype=float)
    weight = np.ones(len(first)) if weight_N is None else np.asarray(weight_N, dtype=float)
    if len({len(column) for column in (first, second, rater, outcome, side, weight)}) != 1 or not len(first):
        raise DataError("choices need columns of one length, and at least one row")
    if (np.diff(group) < 0).any():
        raise DataError("answers of one group must stand together", fix="sort the answers by group")
    if (group[first] != group[second]).any() or (first == second).any():
        raise DataError("a choice is between two different answers of one group")
    if not np.isin(outcome, (-1.0, 0.0, 1.0)).all() or (np.abs(side) > 1).any():
        raise DataError("an outcome is -1, 0 or 1, a side from -1 to 1")
    length = np.log1p(np.asarray(length_A, dtype=float))
    typical = float(np.sqrt(np.mean((length[first] - length[second]) ** 2)))
    return Choices(
        tuple(answers) if answers is not None else tuple(map(str, range(len(group)))),
        group,
        length / (typical or 1.0),
        tuple(raters) if raters is not None else tuple(map(str, range(int(rater.max()) + 1))),
        first,
        second,
        rater,
        outcome,
        side,
        weight,
    )


def latest(judgments: Iterable[Judgment]) -> list[Judgment]:
    """Judgments that say something: no skips, none superseded, of one group by one rater the last."""
    listed = list(judgments)
    replaced = {judgment.supersedes for judgment in listed if judgment.supersedes}
    found = {(j.group, j.rater): j for j in listed if j.id not in replaced and j.outcome != "skip"}
    return list(found.values())


def choices(judgments: Iterable[Judgment], groups: Mapping[str, Group]) -> Choices:
    """Every judgment as choices between the pairs of its group; both-bad is a tie.

    Pairs of identical texts make no choice. Raises DataError for an unknown group or without any choice.
    """
    said = latest(judgments)
    for judgment in said:
        if judgment.group not in groups:
            raise DataError(f"judgment {judgment.id} is of group {judgment.group}, which is not given")
    seen = sorted({judgment.group for judgment in said})
    answers = [(g, answer) for g in seen for answer in sorted(groups[g].answers, key=lambda answer: answer.id)]
    place = {(g, answer.id): i for i, (g, answer) in enumerate(answers)}
    number = {g: i for i, g in enumerate(seen)}
    raters = sorted({judgment.rater for judgment in said})
    who = {rater: r for r, rater in enumerate(raters)}
    rows = [
        (place[judgment.group, i], place[judgment.group, j], who[judgment.rater], *row)
        for judgment in said
        for i, j, *row in _rows(judgment, groups[judgment.group])
    ]
    if not rows:
        raise DataError("no choices: every judgment is a skip, superseded, or of identical texts")
    first, second, rater, outcome, side, weight = (np.array(column) for column in zip(*rows, strict=True))
    return of_arrays(
        group_A=[number[g] for g, _ in answers],
        length_A=[float(len(answer.text)) for _, answer in answers],
        first_N=first,
        second_N=second,
        rater_N=rater,
        outcome_N=outcome,
        side_N=side,
        weight_N=weight,
        answers=[answer.id for _, answer in answers],
        raters=raters,
    )


def _rows(judgment: Judgment, group: Group) -> Iterable[tuple[str, str, float, float, float]]:
    """(first, second, outcome, side, weight) of each pair of different texts."""
    tier = {answer: float(place) for place, tied in enumerate(judgment.tiers) for answer in tied}
    shown = {answer: place / (len(group.answers) - 1) for place, answer in enumerate(judgment.shown_order)}
    for i, j in combinations(sorted(group.answers, key=lambda answer: answer.id), 2):
        if i.text == j.text:
            continue
        gap = 0.0 if judgment.outcome == "both_bad" else tier[j.id] - tier[i.id]
        side = shown.get(j.id, 0.0) - shown.get(i.id, 0.0) if {i.id, j.id} <= shown.keys() else 0.0
        yield i.id, j.id, float(np.sign(gap)), side, 2 / len(group.answers)
