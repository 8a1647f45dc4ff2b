"""Items that nobody wants to judge: withdrawn once two more people skipped them than judgments were wanted.

No more judgments are wanted of such an item than are made or in hand, so that nothing waits for it. Nothing is deleted,
and the overlap it had is kept: a lead, or who takes his skip back, asks for it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, case, func, select, update

from assent.core.records import Group
from assent.feedback import people
from assent.feedback.mix import stands
from assent.feedback.records import Kind
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow

if TYPE_CHECKING:
    from assent.feedback.store import Store

MORE = 2
"""People who skip an item, beyond the judgments wanted of it, before it is withdrawn."""


@dataclass(frozen=True)
class Withdrawn:
    """An item that was skipped too often. `wanted`: judgments of it before, of which `judged` were made."""

    n: int
    kind: Kind
    prompt: str
    wanted: int
    judged: int


def if_skipped_by_all(db: Connection, now: float, item: int) -> None:
    """Withdraw an item where enough people skipped it; called once a skip is kept and its place is given back."""
    skipped = (
        select(func.count(AssignmentRow.person.distinct()))
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(AssignmentRow.item == ItemRow.n, AssignmentRow.turn == 0, JudgmentRow.outcome == "skip", stands())
        .scalar_subquery()
    )
    often = (
        ItemRow.n == item,
        ItemRow.part == "work",
        ItemRow.taken < ItemRow.overlap,
        skipped >= ItemRow.overlap + MORE,
    )
    if db.execute(update(ItemRow).where(*often).values(withdrawn=ItemRow.overlap, overlap=ItemRow.taken)).rowcount:
        people.audit(db, now, None, "withdrawn: skipped by all", f"item {item}")


def restore(db: Connection, items: ColumnElement[bool]) -> int:
    """Want of these items what was wanted before they were withdrawn; how many were."""
    more = case((ItemRow.withdrawn > ItemRow.overlap, ItemRow.withdrawn), else_=ItemRow.overlap)
    gone = update(ItemRow).where(items, ItemRow.withdrawn.is_not(None))
    return db.execute(gone.values(overlap=more, withdrawn=None)).rowcount


def ask_again(store: Store, items: ColumnElement[bool], by: str | None) -> int:
    """The same, for a lead; people who skipped them are not asked, and the next skip withdraws them again."""

    def work(db: Connection, now: float) -> int:
        changed = restore(db, items)
        people.audit(db, now, by, "withdrawn items asked again", f"{changed} items")
        return changed

    return store.write(work)


def listed(store: Store) -> list[Withdrawn]:
    """Withdrawn items, the latest added first."""
    rows = (
        select(ItemRow.n, ItemRow.kind, GroupRow.record, ItemRow.withdrawn, ItemRow.taken)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.part == "work", ItemRow.withdrawn.is_not(None))
        .order_by(ItemRow.n.desc())
    )
    found = store.read(lambda db: db.execute(rows).all())
    return [
        Withdrawn(r.n, r.kind, Group.model_validate_json(r.record).prompt.text, r.withdrawn, r.taken) for r in found
    ]
