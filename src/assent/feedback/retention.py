"""What is kept for how long: traces of people that nobody needs any more go after so many days.

Votes, ideal answers and the audit log stay: they are the project's work and its account of itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, and_, delete, or_, select

from assent.feedback import people
from assent.feedback.errors import BadVerdict
from assent.feedback.forget import NOTHING, blank, forget
from assent.feedback.schema import (
    AttemptRow,
    AuditRow,
    ChatRow,
    InviteRow,
    JudgmentRow,
    PersonRow,
    SessionRow,
    TokenRow,
)
from assent.feedback.store import Store

DAY = 24 * 3600.0


@dataclass(frozen=True)
class Ended:
    """What was taken away; counts."""

    notes: int
    """Notes on judgments; the judgments stay."""
    chats: int
    """Conversations that nobody went on with."""
    accounts: int
    """Closed accounts without a line in the log since: forgotten, the texts of their judgments kept."""
    signs: int
    """Sessions, tokens, links and failed sign-ins that had ended."""


class _Counted(Exception):
    """Rolls back what was only to be counted."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended


def retain(store: Store, days: int, dry_run: bool = False) -> Ended:
    """Take away what has not been needed for `days` days; with `dry_run` only count it. Raises BadVerdict."""
    if days < 1:
        raise BadVerdict("the days to keep are at least 1")

    def work(db: Connection, now: float) -> Ended:
        ended = _end(db, now, now - days * DAY)
        if dry_run:
            raise _Counted(ended)
        people.audit(db, now, None, "retention", f"{days} days: {json.dumps(asdict(ended))}")
        return ended

    try:
        return store.write(work)
    except _Counted as counted:
        return counted.ended


def _end(db: Connection, now: float, before: float) -> Ended:
    written = JudgmentRow.record.contains('"note":')  # empty ones are left out of the record
    old = and_(JudgmentRow.person.is_not(None), JudgmentRow.at <= before, written)
    left = _left(db, before)
    for person in left:
        forget(db, now, person, None, texts=False)
    return Ended(
        notes=blank(db, old, ideals=False),
        chats=db.execute(delete(ChatRow).where(ChatRow.changed <= before)).rowcount,
        accounts=len(left),
        signs=_signs(db, before),
    )


def _left(db: Connection, before: float) -> list[str]:
    """Closed accounts that the log has not named since."""
    named = or_(AuditRow.actor == PersonRow.id, AuditRow.what.startswith(PersonRow.id))
    since = select(AuditRow.n).where(AuditRow.at > before, named).exists()
    wanted = select(PersonRow.id).where(~PersonRow.active, PersonRow.password != NOTHING, ~since)
    return list(db.execute(wanted.order_by(PersonRow.id)).scalars())


def _signs(db: Connection, before: float) -> int:
    ended = (
        delete(SessionRow).where(SessionRow.expires <= before),
        delete(TokenRow).where(or_(TokenRow.expires <= before, TokenRow.revoked <= before)),
        delete(InviteRow).where(or_(InviteRow.expires <= before, InviteRow.used <= before)),
        delete(AttemptRow).where(AttemptRow.at <= before),
    )
    return sum(db.execute(each).rowcount for each in ended)
