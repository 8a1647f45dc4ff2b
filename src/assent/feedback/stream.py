"""Judgments as JSON lines, a batch at a time: whatever their number, memory stays small and no transaction open."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.orm import aliased

from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

BATCH = 500


def judgments(store: Store, everything: bool = False) -> Iterator[str]:
    """One line each, as of the first one: acts that stand, or with `everything` the superseded ones too, in order.

    The same acts as `Store.judgments`: written answers are demonstrations.
    """
    last = store.read(lambda db: db.execute(select(func.max(JudgmentRow.n))).scalar()) or 0
    begin = 0
    while begin < last:
        begin, records = store.read(lambda db, begin=begin: _batch(db, begin, last, everything))  # type: ignore[misc]
        yield from (record + "\n" for record in records)


def _batch(db: Connection, begin: int, last: int, everything: bool) -> tuple[int, list[str]]:
    """Up to BATCH records after row `begin`, and the row to go on after."""
    wanted = (
        select(JudgmentRow.n, JudgmentRow.record)
        .outerjoin(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .outerjoin(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(JudgmentRow.n > begin, JudgmentRow.n <= last, or_(ItemRow.kind.is_(None), ItemRow.kind != "write"))
        .order_by(JudgmentRow.n)
        .limit(BATCH)
    )
    if not everything:
        later = aliased(JudgmentRow)
        replaced = select(later.n).where(later.supersedes == JudgmentRow.id, later.n <= last)
        wanted = wanted.where(~JudgmentRow.undone, ~replaced.exists())
    rows = db.execute(wanted).all()
    return (rows[-1].n if len(rows) == BATCH else last), [row.record for row in rows]
