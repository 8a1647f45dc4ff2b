"""What must hold in a store after many raters worked at once. Asked of the tables themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from sqlalchemy import Connection, func, select

from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow, PersonRow
from assent.feedback.store import Store


def faults(url: str, taken: Set[tuple[str, str]]) -> list[str]:
    """What is wrong, if anything. `taken`: (name, client key) of every act that the server said it took."""
    with Store.open(url) as store:
        return store.read(lambda db: [*_acts(db, taken), *_places(db)])


def _acts(db: Connection, taken: Set[tuple[str, str]]) -> list[str]:
    """Every act that was taken is there, once; no assignment has two answers that stand."""
    kept = Counter(
        (row.name, row.client_key)
        for row in db.execute(
            select(PersonRow.name, JudgmentRow.client_key).join(PersonRow, PersonRow.id == JudgmentRow.person)
        )
    )
    acts = db.execute(select(JudgmentRow.id, JudgmentRow.assignment, JudgmentRow.supersedes, JudgmentRow.undone)).all()
    replaced = {act.supersedes for act in acts}
    standing = Counter(act.assignment for act in acts if act.id not in replaced and not act.undone)
    found = {
        "answers taken and lost": len(taken - set(kept)),
        "answers kept twice": sum(count > 1 for count in kept.values()),
        "assignments with two answers": sum(count > 1 for count in standing.values()),
    }
    print(f"kept: {sum(kept.values())} acts, {len(set(kept) - taken)} of them never confirmed", flush=True)
    return [f"{count} {what}" for what, count in found.items() if count]


def _places(db: Connection) -> list[str]:
    """No item has more raters than places, and the count of places in use is the true one."""
    holding = (
        select(AssignmentRow.item, func.count().label("n"))
        .where(AssignmentRow.holds, AssignmentRow.state != "expired")
        .group_by(AssignmentRow.item)
        .subquery()
    )
    rows = db.execute(
        select(ItemRow.overlap, ItemRow.taken, func.coalesce(holding.c.n, 0))
        .outerjoin(holding, holding.c.item == ItemRow.n)
        .where(ItemRow.part == "work")
    ).all()
    found = {
        "items given to too many": sum(held > overlap for overlap, _, held in rows),
        "items whose places are miscounted": sum(held != used for _, used, held in rows),
    }
    return [f"{count} {what}" for what, count in found.items() if count]
