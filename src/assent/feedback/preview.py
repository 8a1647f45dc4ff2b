"""What a rater would get next, without leasing anything: the queue itself runs, in a transaction that is taken back."""

from __future__ import annotations

from sqlalchemy import Connection

from assent.feedback import people, queue
from assent.feedback.records import Role, Why
from assent.feedback.store import Store

AHEAD = 20


def preview(store: Store, person: str, count: int = AHEAD) -> list[Why]:
    """Why each of the next `count` items would be chosen for a person (an id); fewer where fewer are left.

    As if every item were kept in hand: guideline, quiz and daily cap, which come first, are passed over.
    Raises NotFound, NotAllowed.
    """

    def work(db: Connection, now: float) -> list[Why]:
        who = people.require(db, person, Role.rater)
        attempt = db.begin_nested()
        try:
            return queue.foresee(db, now, who, count)
        finally:
            attempt.rollback()

    return store.write(work)
