"""The order of the queue by what a reward-model ensemble is unsure of: there, a judgment teaches most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select

from assent.core.errors import DataError
from assent.core.jsonl import describe, read_rows
from assent.feedback.schema import ItemRow
from assent.feedback.store import Store

SHAPE = 'rows like {"group": "...", "disagreement": 0.4}'


class Row(BaseModel):
    """A line of a file of scores: a group's id and how far the ensemble disagrees about it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    group: str = Field(min_length=1)
    disagreement: float = Field(ge=0, allow_inf_nan=False)


def lead_spread(members: Sequence[Sequence[float]]) -> float:
    """How far the members disagree on the preferred answer: the standard deviation of its lead over the next best.

    Preferred and next best are so by the members' mean; of a pair it is the deviation of the members' leads, as the
    reward step reports it. A constant that a member adds to all answers of a prompt plays no part: comparisons leave
    it open. Parameters: `members`, of each the scores of all answers. Raises DataError.
    """
    sizes = {len(scores) for scores in members}
    if len(members) < 2 or len(sizes) != 1 or min(sizes) < 2:
        raise DataError("disagreement needs two members or more, and from each a score of the same two answers or more")
    if not all(math.isfinite(score) for scores in members for score in scores):
        raise DataError("a score is not finite")
    means = [fmean(scores) for scores in zip(*members, strict=True)]
    best, second = sorted(range(len(means)), key=lambda k: -means[k])[:2]
    return pstdev(scores[best] - scores[second] for scores in members)


def order_by_disagreement(store: Store, scores: Mapping[str, Sequence[Sequence[float]]]) -> int:
    """Hand out first what the members disagree about most; how many of the groups are in the queue.

    `scores`: group id -> of each member, its scores of the group's answers. Raises DataError: nothing is changed.
    """
    found = {}
    for group, members in scores.items():
        try:
            found[group] = lead_spread(members)
        except DataError as error:
            raise DataError(error.what, where=f"group {group}") from None
    return set_order(store, found)


def set_order(store: Store, disagreement: Mapping[str, float]) -> int:
    """Hand out groups by disagreement, the largest first; how many of them are in the queue.

    Items that are not named keep their place; those that never had one come after all with a disagreement.
    """
    known = set(store.read(lambda db: db.execute(select(ItemRow.group)).scalars().all()))
    ranks = {group: -value for group, value in disagreement.items() if group in known}
    store.rank(ranks)
    return len(ranks)


def read_disagreement(path: Path) -> dict[str, float]:
    """Group id -> disagreement from JSON lines `{"group": ..., "disagreement": ...}`.

    Raises DataError with file and line: a bad row, or a group that stands twice.
    """
    found: dict[str, float] = {}
    for number, raw in read_rows(path):
        try:
            row = Row.model_validate(raw)
        except ValidationError as error:
            raise DataError(describe(error), where=f"{path}:{number}", fix=SHAPE) from None
        if row.group in found:
            raise DataError(f"group {row.group} stands twice", where=f"{path}:{number}", fix="one row per group")
        found[row.group] = row.disagreement
    if not found:
        raise DataError("holds no row", where=str(path), fix=SHAPE)
    return found
