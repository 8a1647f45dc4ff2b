"""Accounts: invites, passwords (argon2id), sessions, the throttle of sign-ins, and the audit log.

No secret is stored in clear: passwords as argon2id hashes; invites, links and sessions are 256 random bits, of which
a plain SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from assent.feedback.database import lock
from assent.feedback.errors import NotAllowed, NotFound, Throttled
from assent.feedback.records import AuditEntry, Person, Role
from assent.feedback.schema import AttemptRow, AuditRow, InviteRow, PersonRow, RaterRow, SessionRow, TokenRow

INVITE_SECONDS = 7 * 24 * 3600.0
SESSION_SECONDS = 14 * 24 * 3600.0
THROTTLE_SECONDS = 15 * 60.0
THROTTLE_TRIES = 5
"""Failed sign-ins with one name from one address before it has to wait."""
ADDRESS_TRIES = 50
"""The same from one address, whatever the names: many people may share one."""
NAME_TRIES, SLOW_TRIES = 100, 2
"""Failed sign-ins with one name from anywhere, after which each address has no more than so many with it."""
PASSWORD_LENGTH = (10, 256)
NAME_LENGTH = 60


def digest(secret: str) -> str:
    """What is stored of a random token, and of a name that failed to sign in."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def name_key(name: str) -> str:
    """Names that look alike up to case and composition are one name."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def check_name(name: str) -> str:
    """The name, trimmed. Raises NotAllowed."""
    trimmed = name.strip()
    if not 1 <= len(trimmed) <= NAME_LENGTH or not trimmed.isprintable():
        raise NotAllowed(f"a name has 1 to {NAME_LENGTH} visible characters")
    return trimmed


def check_password(password: str, name: str = "") -> None:
    """Length is what counts; no rules about digits. Raises NotAllowed."""
    least, most = PASSWORD_LENGTH
    if not least <= len(password) <= most:
        raise NotAllowed(f"a password has {least} to {most} characters")
    if name and name_key(name) == name_key(password):
        raise NotAllowed("the password is the name")
    if len(set(password)) < 4:
        raise NotAllowed("the password repeats too few characters")


def visible(text: str) -> str:
    """Text with what a database or a terminal could choke on written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def audit(db: Connection, now: float, actor: str | None, action: str, what: str = "") -> None:
    """One more line in the log. `what` never holds a secret."""
    db.execute(insert(AuditRow).values(at=now, actor=actor, action=action, what=visible(what)))


def audit_log(db: Connection, limit: int) -> list[AuditEntry]:
    """The latest lines first."""
    rows = db.execute(select(AuditRow.__table__).order_by(AuditRow.n.desc()).limit(limit)).mappings()
    return [AuditEntry(**row) for row in rows]


def person_from(row: Row[tuple[PersonRow]]) -> Person:
    """A row of `people` as what the store hands out: without the password."""
    opted_out = tuple(json.loads(row.opted_out))
    return Person(
        id=row.id, name=row.name, role=row.role, active=row.active, opted_out=opted_out, daily_cap=row.daily_cap
    )


def find(db: Connection, person: str) -> Person:
    """The person of an id. Raises NotFound."""
    row = person.isprintable() and db.execute(select(PersonRow.__table__).where(PersonRow.id == person)).one_or_none()
    if not row:
        raise NotFound("no such person")
    return person_from(row)


def everybody(db: Connection) -> list[Person]:
    """All accounts in the order they joined."""
    rows = db.execute(select(PersonRow.__table__).order_by(PersonRow.joined, PersonRow.id))
    return [person_from(row) for row in rows]


def has_lead(db: Connection) -> bool:
    """Whether an active lead exists."""
    lead = select(PersonRow.id).where(PersonRow.role == Role.lead.value, PersonRow.active)
    return db.execute(lead.limit(1)).first() is not None


def require(db: Connection, person: str, role: Role) -> Person:
    """The person, who must be active and have the role. Raises NotAllowed."""
    found = find(db, person)
    if not found.active or not found.role.covers(role):
        raise NotAllowed(f"only a {role} may do this")
    return found


def invite(db: Connection, now: float, role: Role, by: str | None, person: str | None = None) -> str:
    """A new token. `by` None is somebody at the machine itself; `person`: a link to set that one's password."""
    if by is not None:
        require(db, by, Role.lead)
    token = secrets.token_urlsafe(32)
    db.execute(
        insert(InviteRow).values(
            token_hash=digest(token), role=role.value, by=by, person=person, created=now, expires=now + INVITE_SECONDS
        )
    )
    audit(db, now, by, "reset link" if person else "invite", person or role.value)
    return token


def open_invite(db: Connection, now: float, token: str) -> Row[tuple[InviteRow]]:
    """The unused, unexpired invite of a token. Raises NotAllowed."""
    row = db.execute(select(InviteRow.__table__).where(InviteRow.token_hash == digest(token))).one_or_none()
    if row is None or row.used is not None or row.expires <= now:
        raise NotAllowed("this link was used, has expired or never existed", fix="ask your lead for a new one")
    return row


def use_invite(db: Connection, now: float, token: str) -> Row[tuple[InviteRow]]:
    """Take the invite: of two who try at once, one. Raises NotAllowed."""
    row = open_invite(db, now, token)
    taken = update(InviteRow).where(InviteRow.token_hash == digest(token), InviteRow.used.is_(None)).values(used=now)
    if db.execute(taken).rowcount != 1:
        raise NotAllowed("this link was used", fix="ask your lead for a new one")
    return row


def join(db: Connection, now: float, token: str, name: str, hashed: str) -> Person:
    """Make the account of an invite. Raises NotAllowed: the link, or a name that is taken."""
    row = use_invite(db, now, token)
    if row.person is not None:
        raise NotAllowed("this link sets a new password; it makes no account")
    if db.execute(select(PersonRow.id).where(PersonRow.name_key == name_key(name))).first():
        raise NotAllowed("this name is taken", fix="choose another one")
    person = Person(id=secrets.token_hex(8), name=name, role=Role(row.role))
    db.execute(
        insert(PersonRow).values(
            id=person.id, name=name, name_key=name_key(name), role=row.role, password=hashed, joined=now
        )
    )
    db.execute(insert(RaterRow).values(id=person.rater.id, record=person.rater.model_dump_json(exclude_defaults=True)))
    audit(db, now, person.id, "joined", row.role)
    return person


def set_password(db: Connection, now: float, token: str, hashed: str) -> Person:
    """Set the password that a reset link is for; sessions, tokens and other open links of the person end.

    Raises NotAllowed.
    """
    row = use_invite(db, now, token)
    if row.person is None:
        raise NotAllowed("this link makes an account; it sets no password")
    db.execute(update(PersonRow).where(PersonRow.id == row.person).values(password=hashed))
    db.execute(delete(SessionRow).where(SessionRow.person == row.person))
    _end_tokens(db, now, row.person)
    db.execute(update(InviteRow).where(InviteRow.person == row.person, InviteRow.used.is_(None)).values(used=now))
    audit(db, now, row.person, "password set")
    return find(db, row.person)


def _end_tokens(db: Connection, now: float, person: str) -> None:
    db.execute(update(TokenRow).where(TokenRow.person == person, TokenRow.revoked.is_(None)).values(revoked=now))


def count_attempt(db: Connection, now: float, name: str, address: str) -> None:
    """Count a try before the password is looked at, so that tries at once are all counted. Raises Throttled.

    What fails elsewhere never closes the door to an address that has not tried: nobody can keep another person out.
    """
    lock(db, "sign in")
    db.execute(delete(AttemptRow).where(AttemptRow.at <= now - THROTTLE_SECONDS))
    named, here = AttemptRow.name_hash == digest(name_key(name)), AttemptRow.address_hash == _place(address)
    most = THROTTLE_TRIES if _nth_latest(db, NAME_TRIES, named) is None else SLOW_TRIES
    for full in (_nth_latest(db, most, named, here), _nth_latest(db, ADDRESS_TRIES, here)):
        if full is not None:
            raise Throttled(full + THROTTLE_SECONDS - now)
    db.execute(insert(AttemptRow).values(name_hash=digest(name_key(name)), address_hash=_place(address), at=now))


def _nth_latest(db: Connection, n: int, *which: ColumnElement[bool]) -> float | None:
    """When the n-th latest of these tries was made; None where there are fewer."""
    wanted = select(AttemptRow.at).where(*which).order_by(AttemptRow.at.desc()).offset(n - 1).limit(1)
    return db.execute(wanted).scalar()


def _place(address: str) -> str:
    """What is stored of where a try came from. Of IPv6 one subscriber has a whole /64, so it counts as one address."""
    try:
        found = ip_address(address)
    except ValueError:  # a socket without an address
        return digest(address)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64)
    return digest(str(found))


def credentials(db: Connection, name: str) -> tuple[str, str] | None:
    """(person id, password hash) of an active account, None where there is none."""
    if not name.strip().isprintable():  # as no account's name is; databases refuse some other characters
        return None
    row = db.execute(
        select(PersonRow.id, PersonRow.password).where(PersonRow.name_key == name_key(name), PersonRow.active)
    ).one_or_none()
    return None if row is None else (row.id, row.password)


def start_session(db: Connection, now: float, person: str, name: str, address: str) -> str:
    """A session token; the failed tries with this name from here are forgotten, those from elsewhere are not."""
    here = AttemptRow.address_hash == _place(address)
    db.execute(delete(AttemptRow).where(AttemptRow.name_hash == digest(name_key(name)), here))
    db.execute(delete(SessionRow).where(SessionRow.expires <= now))
    token = secrets.token_urlsafe(32)
    db.execute(
        insert(SessionRow).values(token_hash=digest(token), person=person, created=now, expires=now + SESSION_SECONDS)
    )
    audit(db, now, person, "signed in")
    return token


def person_of(db: Connection, now: float, session: str) -> Person | None:
    """Who a session token is, None where it is unknown, expired, or the account is closed."""
    row = db.execute(
        select(PersonRow.__table__)
        .join(SessionRow, SessionRow.person == PersonRow.id)
        .where(SessionRow.token_hash == digest(session), SessionRow.expires > now, PersonRow.active)
    ).one_or_none()
    return None if row is None else person_from(row)


def sign_out(db: Connection, now: float, session: str) -> None:
    """End a session; an unknown one is fine."""
    gone = person_of(db, now, session)
    db.execute(delete(SessionRow).where(SessionRow.token_hash == digest(session)))
    if gone:
        audit(db, now, gone.id, "signed out")


def change(db: Connection, now: float, by: str, person: str, role: Role | None, active: bool | None) -> Person:
    """Give another role, or close or open an account. The last lead stays one.

    Sessions and tokens of a closed account end, and the open links made by somebody who is lead no more.
    """
    lock(db, "roles")
    require(db, by, Role.lead)
    find(db, person)
    values = {k: v for k, v in {"role": role and role.value, "active": active}.items() if v is not None}
    if values:
        db.execute(update(PersonRow).where(PersonRow.id == person).values(**values))
    if not has_lead(db):
        raise NotAllowed("this would leave nobody as lead")
    if active is False:
        db.execute(delete(SessionRow).where(SessionRow.person == person))
        _end_tokens(db, now, person)
    if active is False or role not in (None, Role.lead):
        db.execute(update(InviteRow).where(InviteRow.by == person, InviteRow.used.is_(None)).values(used=now))
    audit(db, now, by, "changed person", f"{person}: {values}")
    return find(db, person)


def set_limits(db: Connection, now: float, person: str, opted_out: Sequence[str], daily_cap: int | None) -> Person:
    """What a rater will not see, and how much a day at most."""
    values = {"opted_out": json.dumps(sorted(set(opted_out))), "daily_cap": daily_cap}
    db.execute(update(PersonRow).where(PersonRow.id == person).values(**values))
    audit(db, now, person, "set limits")  # not which: leads read the log
    return find(db, person)
