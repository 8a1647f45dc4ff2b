"""What a rater will not see, from this moment on: also what lies ready for him is put back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from assent.feedback import people
from assent.feedback.choice import put_back
from assent.feedback.records import Person
from assent.feedback.schema import AssignmentRow, ItemRow
from assent.feedback.store import Store


def set_limits(store: Store, person: Person, opted_out: Sequence[str], daily_cap: int | None) -> Person:
    """Keep categories and cap, and give back what he holds of these categories, items of the quiz too."""

    def work(db: Connection, now: float) -> Person:
        changed = people.set_limits(db, now, person.id, opted_out, daily_cap)
        refused = select(ItemRow.n).where(ItemRow.category.in_(changed.opted_out))
        put_back(db, AssignmentRow.person == person.id, AssignmentRow.item.in_(refused))
        return changed

    return store.write(work)
