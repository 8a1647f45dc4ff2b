"""Items people differ on, asked once more of somebody new.

Such a question is one more place: the item's overlap and the places in use both rise by one, in one conditional
UPDATE that fails where another rater was first. Each such place has an assignment of its own (`why` is `conflict`),
and rows of assignments never go away, so that counting them bounds how often an item is asked again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

from sqlalchemy import ColumnElement, Connection, exists, func, select, update
from sqlalchemy.orm import aliased

from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow

MOST_RAISES = 2
"""How often an item is asked again because of a conflict."""
LOOKED_AT = 500
"""Items looked at for one draw, from a random one on, so that a draw costs the same in any project."""


def opposed(best: Iterable[Collection[str]]) -> bool:
    """Whether two of the votes have no best answer in common. `best`: the first tier of each vote."""
    return any(not set(one) & set(other) for one, other in combinations(best, 2))


def stands() -> ColumnElement[bool]:
    """Whether a judgment neither was superseded nor takes one back."""
    later = aliased(JudgmentRow)
    return ~JudgmentRow.undone & ~exists().where(later.supersedes == JudgmentRow.id)


def conflict(db: Connection, person: str, spot: int, allowed: Sequence[ColumnElement[bool]]) -> int | None:
    """An item whose votes oppose each other, with a new place claimed; None where there is none.

    Parameters: `spot`, a random number; `allowed`, what else must hold of an item.
    """
    overlaps = _candidates(db, person, spot, allowed)
    best = _best(db, list(overlaps))
    for item, overlap in overlaps.items():
        if opposed(best[item]) and _raise(db, item, overlap):
            return item
    return None


def _candidates(db: Connection, person: str, spot: int, allowed: Sequence[ColumnElement[bool]]) -> dict[int, int]:
    """Item -> overlap, of items with every place judged that this person never had, not settled, not asked too often.

    Never: a lease of his that ended would be taken up again and leave no row to count.
    """
    of_item = AssignmentRow.item == ItemRow.n
    asked = select(func.count()).where(of_item, AssignmentRow.why == "conflict").scalar_subquery()
    settled = (AssignmentRow.why == "adjudication") & (AssignmentRow.state == "done")
    start = spot % ((db.execute(select(func.max(ItemRow.n))).scalar() or 0) + 1)
    wanted = (
        select(ItemRow.n, ItemRow.overlap)
        .where(ItemRow.part == "work", ItemRow.kind != "write", ItemRow.overlap > 1, ItemRow.taken == ItemRow.overlap)
        .where(~exists().where(of_item, (AssignmentRow.state == "leased") | settled))
        .where(~exists().where(of_item, AssignmentRow.person == person), asked < MOST_RAISES, *allowed)
        .order_by(ItemRow.n)
    )
    found = db.execute(wanted.where(ItemRow.n >= start).limit(LOOKED_AT)).all()
    before = db.execute(wanted.where(ItemRow.n < start).limit(LOOKED_AT - len(found))).all()
    return {row.n: row.overlap for row in (*found, *before)}


def _best(db: Connection, items: Sequence[int]) -> dict[int, list[list[str]]]:
    """Item -> the first tier of the vote of each of its raters; of a repeat, the later one."""
    rows = db.execute(
        select(AssignmentRow.item, JudgmentRow.rater, JudgmentRow.record)
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(AssignmentRow.item.in_(items), JudgmentRow.outcome == "ranked", stands())
        .order_by(JudgmentRow.n)
    )
    latest: dict[int, dict[str, list[str]]] = defaultdict(dict)
    for row in rows:
        latest[row.item][row.rater] = json.loads(row.record)["tiers"][0]
    return defaultdict(list, {item: list(votes.values()) for item, votes in latest.items()})


def _raise(db: Connection, item: int, overlap: int) -> bool:
    """Add a place and claim it, unless the item has changed since it was looked at."""
    same = update(ItemRow).where(ItemRow.n == item, ItemRow.overlap == overlap, ItemRow.taken == overlap)
    return db.execute(same.values(overlap=overlap + 1, taken=overlap + 1)).rowcount == 1
