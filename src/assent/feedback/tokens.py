"""Keys to the API: each acts as the person who made it, with his role of the moment, until it ends or is revoked.

Its scope says whether it may read alone, or change something too.

A token is 256 random bits, shown once; only its SHA-256 is kept. The prefix says what a token found somewhere is.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from assent.feedback import people
from assent.feedback.errors import BadVerdict, NotAllowed, NotFound
from assent.feedback.people import digest
from assent.feedback.records import Person, Role
from assent.feedback.schema import PersonRow, TokenRow
from assent.feedback.store import Store

Scope = Literal["read", "write"]
PREFIX = "assent_"
LONGEST = 365
"""Days a token lives at most."""
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Token:
    """What may be shown of a token; times in Unix seconds. `name`: what its maker calls it."""

    id: str
    person: str
    name: str
    scope: Scope
    created: float
    expires: float
    revoked: float | None

    def works(self, now: float) -> bool:
        """Whether it opens anything, its person's account permitting."""
        return self.revoked is None and now < self.expires


def make(store: Store, person: Person, name: str, days: int, scope: Scope = "write") -> str:
    """A new token, which cannot be shown again. Raises NotAllowed: not a lead; BadVerdict: the name or the days."""
    trimmed = name.strip()
    if not 1 <= len(trimmed) <= people.NAME_LENGTH or not trimmed.isprintable():
        raise BadVerdict(f"a token's name has 1 to {people.NAME_LENGTH} visible characters")
    if not 1 <= days <= LONGEST:
        raise BadVerdict(f"a token lives 1 to {LONGEST} days")
    token = PREFIX + secrets.token_urlsafe(32)

    def work(db: Connection, now: float) -> str:
        people.require(db, person.id, Role.lead)
        row = {"id": secrets.token_hex(4), "person": person.id, "name": trimmed, "scope": scope}
        times = {"created": now, "expires": now + days * DAY}
        db.execute(insert(TokenRow).values(token_hash=digest(token), **row, **times))
        people.audit(db, now, person.id, "token made", f"{row['id']} {trimmed}, {scope}, {days} days")
        return token

    return store.write(work)


def person_of(store: Store, token: str, changes: bool = False) -> Person | None:
    """Whom a token acts as; None where it is unknown, ended, revoked, or the account is closed.

    `changes`: whether it is to change something. Raises NotAllowed where it may only read.
    """
    known = (TokenRow.token_hash == digest(token), TokenRow.revoked.is_(None))
    # Anybody may send a wrong token: it must not cost a writing transaction, which others would wait for.
    if store.read(lambda db: db.execute(select(TokenRow.id).where(*known)).first()) is None:
        return None

    def work(db: Connection, now: float) -> Person | None:
        wanted = select(PersonRow.__table__, TokenRow.scope).join(TokenRow, TokenRow.person == PersonRow.id)
        row = db.execute(wanted.where(*known, TokenRow.expires > now, PersonRow.active)).one_or_none()
        if row is not None and changes and row.scope != "write":
            raise NotAllowed("this token may only read", fix="make one that may add data, too")
        return None if row is None else people.person_from(row)

    return store.write(work)


def listed(store: Store) -> list[Token]:
    """All tokens, the latest first."""
    columns = [getattr(TokenRow, field.name) for field in fields(Token)]
    wanted = select(*columns).order_by(TokenRow.created.desc(), TokenRow.id)
    return store.read(lambda db: [Token(*row) for row in db.execute(wanted)])


def revoke(store: Store, by: Person, id: str) -> None:
    """End a token now, whoever made it; again changes nothing. Raises NotFound, NotAllowed."""

    def work(db: Connection, now: float) -> None:
        people.require(db, by.id, Role.lead)
        known = db.execute(select(TokenRow.id).where(TokenRow.id == id)).first() if id.isprintable() else None
        if known is None:
            raise NotFound("no such token")
        ended = update(TokenRow).where(TokenRow.id == id, TokenRow.revoked.is_(None)).values(revoked=now)
        if db.execute(ended).rowcount:
            people.audit(db, now, by.id, "token revoked", id)

    store.write(work)
