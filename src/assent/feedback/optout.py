"""What a rater will not see, from this moment on: also what lies ready for him is put back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from assent.feedback import people
from assent.feedback.choice import give_place
from assent.feedback.records import Person
from assent.feedback.schema import AssignmentRow, ItemRow
from assent.feedback.store import Store


def set_limits(store: Store, person: Person, opted_out: Sequence[str], daily_cap: int | None) -> Person:
    """Keep categories and cap, and give back what he holds of these categories; a quiz is the same for everybody."""

    def work(db: Connection, now: float) -> Person:
        changed = people.set_limits(db, now, person.id, opted_out, daily_cap)
        _put_back(db, person.id, changed.opted_out)
        return changed

    return store.write(work)


def _put_back(db: Connection, person: str, categories: Sequence[str]) -> None:
    held = (
        select(AssignmentRow.id, AssignmentRow.item, AssignmentRow.holds)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(AssignmentRow.person == person, AssignmentRow.state == "leased", ItemRow.part != "quiz")
        .where(ItemRow.category.in_(categories))
        .order_by(AssignmentRow.item, AssignmentRow.n)
        .with_for_update(of=AssignmentRow)
    )
    for row in db.execute(held).all():
        db.execute(update(AssignmentRow).where(AssignmentRow.id == row.id).values(state="expired", holds=False))
        if row.holds:
            give_place(db, row.item)
