"""The tables. Times are Unix seconds; what must come back to the letter (records) is kept as JSON text.

A change here needs a migration (`migrations/versions`); a test compares the two.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables; constraints have names, so that migrations can drop them."""

    type_annotation_map: ClassVar = {str: Text}


Base.metadata.naming_convention = NAMES


class PersonRow(Base):
    """An account. `name_key`: the name folded, so that two people never differ by case alone."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    opted_out: Mapped[str] = mapped_column(default="[]")
    daily_cap: Mapped[int | None]
    attributes: Mapped[str | None]
    """What the person chose to say of himself, as JSON; None: nothing. Shown in groups of five and more only."""
    joined: Mapped[float]


class SessionRow(Base):
    """Somebody signed in. Only the SHA-256 of the token is here."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    created: Mapped[float]
    expires: Mapped[float]


class TokenRow(Base):
    """A key to the API that acts as a person. Only the SHA-256 of the token is here."""

    __tablename__ = "tokens"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    """Names the token on screens and in the audit log."""
    person: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str]
    scope: Mapped[str] = mapped_column(server_default="write")
    """`read`, or `write`, which may read too."""
    created: Mapped[float]
    expires: Mapped[float]
    revoked: Mapped[float | None]


class InviteRow(Base):
    """An invite, or with `person` a link to set a new password. Only the SHA-256 of the token is here."""

    __tablename__ = "invites"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    person: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    created: Mapped[float]
    expires: Mapped[float]
    used: Mapped[float | None]


class AttemptRow(Base):
    """A failed sign-in. The name is hashed: people type passwords into the wrong field; so is where it came from."""

    __tablename__ = "attempts"
    n: Mapped[int] = mapped_column(primary_key=True)
    name_hash: Mapped[str] = mapped_column(index=True)
    address_hash: Mapped[str] = mapped_column(index=True)
    at: Mapped[float]


class GuidelineRow(Base):
    """A guideline was made current; the latest row is the one in force."""

    __tablename__ = "guidelines"
    n: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    text: Mapped[str]
    added: Mapped[float]


class ReadRow(Base):
    """A person read a version of the guideline."""

    __tablename__ = "guideline_reads"
    version: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.id"), primary_key=True)
    at: Mapped[float]


class GroupRow(Base):
    """A prompt with its answers: `core.records.Group` as JSON."""

    __tablename__ = "groups"
    n: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    record: Mapped[str]


class ItemRow(Base):
    """A group in the queue. `taken`: places in use, leased or judged; the table itself refuses more than `overlap`.

    Items of part `gold` and `quiz` are asked of everybody and count no places.
    """

    __tablename__ = "items"
    n: Mapped[int] = mapped_column(primary_key=True)
    group: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    kind: Mapped[str]
    part: Mapped[str] = mapped_column(default="work")
    overlap: Mapped[int]
    taken: Mapped[int] = mapped_column(default=0)
    withdrawn: Mapped[int | None]
    """The overlap it had until too many people skipped it; None: it was not withdrawn."""
    gold: Mapped[str | None]
    explanation: Mapped[str | None]
    """Why the known verdict is right, shown after a quiz or calibration item."""
    category: Mapped[str | None]
    rank: Mapped[float] = mapped_column(default=0.0)
    """Place in line, smaller first; equal ranks by age."""
    __table_args__ = (
        UniqueConstraint("group", "kind"),
        CheckConstraint("taken >= 0 AND taken <= overlap", name="places"),
        Index("ix_items_part", "part"),
        Index(
            "ix_items_open",
            "part",
            "rank",
            "n",
            sqlite_where=text("taken < overlap"),
            postgresql_where=text("taken < overlap"),
        ),
    )


class AssignmentRow(Base):
    """An item in a person's hands: `leased`, `done`, or `expired`. `turn` 0 is the first time, 1 a repeat."""

    __tablename__ = "assignments"
    n: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    item: Mapped[int] = mapped_column(ForeignKey("items.n"))
    person: Mapped[str] = mapped_column(ForeignKey("people.id"))
    turn: Mapped[int] = mapped_column(default=0)
    state: Mapped[str]
    holds: Mapped[bool]
    """Whether it occupies one of the item's places."""
    shown_order: Mapped[str]
    why: Mapped[str]
    guideline: Mapped[str | None]
    given: Mapped[float]
    expires: Mapped[float]
    __table_args__ = (
        UniqueConstraint("item", "person", "turn"),
        Index("ix_assignments_state_expires", "state", "expires"),
        Index("ix_assignments_person_state", "person", "state", "expires"),
    )


class RaterRow(Base):
    """Who judged, as exported: `core.records.Rater` as JSON."""

    __tablename__ = "raters"
    id: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[str]


class JudgmentRow(Base):
    """One act: `core.records.Judgment` as JSON, and what queries ask about. Rows are added, never changed.

    Acts of people have a person, an assignment and a client key; imported judgments have none of them.
    """

    __tablename__ = "judgments"
    n: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    group: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    rater: Mapped[str] = mapped_column(ForeignKey("raters.id"))
    person: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    assignment: Mapped[str | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    client_key: Mapped[str | None]
    outcome: Mapped[str]
    undone: Mapped[bool] = mapped_column(default=False)
    """Whether this act takes another one back."""
    guideline: Mapped[str | None]
    supersedes: Mapped[str | None] = mapped_column(unique=True)
    is_gold: Mapped[bool]
    is_repeat: Mapped[bool]
    at: Mapped[float]
    record: Mapped[str]
    __table_args__ = (
        UniqueConstraint("person", "client_key"),
        Index(
            "uq_judgments_first",
            "assignment",
            unique=True,
            sqlite_where=text("supersedes IS NULL"),
            postgresql_where=text("supersedes IS NULL"),
        ),
    )


class ContestRow(Base):
    """A rater says that the known verdict on an item is wrong, and what a reviewer answers."""

    __tablename__ = "contests"
    n: Mapped[int] = mapped_column(primary_key=True)
    judgment: Mapped[str] = mapped_column(ForeignKey("judgments.id"), unique=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    text: Mapped[str]
    at: Mapped[float]
    reply: Mapped[str | None]
    replied: Mapped[float | None]
    replied_by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))


class ChatRow(Base):
    """A blind conversation with two models, as JSON: turns so far, who answers, what waits for a vote."""

    __tablename__ = "chats"
    n: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    record: Mapped[str]
    created: Mapped[float]
    changed: Mapped[float]


class AuditRow(Base):
    """Who did what, when. Rows are added, never changed."""

    __tablename__ = "audit"
    n: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    actor: Mapped[str | None]
    action: Mapped[str]
    what: Mapped[str]


class SettingRow(Base):
    """A setting of the project as JSON."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
