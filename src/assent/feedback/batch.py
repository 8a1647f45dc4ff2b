"""Items of several kinds into the queue at once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from assent.core.records import Group
from assent.feedback import people, queue
from assent.feedback.records import Kind
from assent.feedback.store import Store


def add(store: Store, items: Sequence[tuple[Group, Kind]], overlap: int, by: str) -> int:
    """Put groups in the queue, all or none; how many are new. Raises BadVerdict: a group that does not fit its kind."""

    def work(db: Connection, now: float) -> int:
        new = sum(queue.add_item(db, group, kind, overlap, None, False, 0.0) for group, kind in items)
        people.audit(db, now, by, "items added", f"{new} of {len(items)}, overlap {overlap}")
        return new

    return store.write(work)
