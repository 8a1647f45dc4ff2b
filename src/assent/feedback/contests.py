"""Check items after the fact: what was known, what a rater said, and his word that the known verdict is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.orm import aliased

from assent.core.records import Group, Judgment
from assent.feedback import people
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.quiz import is_right
from assent.feedback.records import Person, Role
from assent.feedback.schema import AssignmentRow, ContestRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

MOST_CHARACTERS = 4000


@dataclass(frozen=True)
class Contest:
    """A rater's objection and the reviewer's answer; times in Unix seconds."""

    n: int
    text: str
    at: float
    reply: str | None
    replied: float | None


@dataclass(frozen=True)
class Check:
    """A judgment on an item whose verdict is known. `known`: its tiers of answer ids."""

    judgment: Judgment
    group: Group
    known: tuple[tuple[str, ...], ...]
    explanation: str
    right: bool
    contest: Contest | None


def checks(store: Store, person: Person, limit: int = 50) -> list[Check]:
    """The person's standing judgments on check and quiz items, the latest first."""
    wanted = _checks().where(JudgmentRow.person == person.id).order_by(JudgmentRow.n.desc()).limit(limit)
    return store.read(lambda db: [_check(row) for row in db.execute(wanted)])


def contested(store: Store, limit: int = 200) -> list[Check]:
    """Judgments with an objection: those without an answer first, then the latest."""
    wanted = _checks().where(ContestRow.n.is_not(None))
    wanted = wanted.order_by(ContestRow.replied.is_not(None), ContestRow.n.desc()).limit(limit)
    return store.read(lambda db: [_check(row) for row in db.execute(wanted)])


def contest(store: Store, person: Person, judgment: str, text: str) -> None:
    """Say that the known verdict is wrong, once for each judgment. Raises NotFound, BadVerdict."""
    said = _text(text, "why the known verdict is wrong")

    def work(db: Connection, now: float) -> None:
        people.require(db, person.id, Role.rater)
        mine = _checks().where(JudgmentRow.person == person.id, JudgmentRow.id == judgment)
        row = db.execute(mine).one_or_none() if judgment.isprintable() else None
        if row is None:
            raise NotFound("there is no such check item among your judgments")
        found = _check(row)
        if found.right:
            raise BadVerdict("you said what was known; there is nothing to contest")
        if found.contest:
            raise BadVerdict("this one is contested already")
        db.execute(insert(ContestRow).values(judgment=judgment, person=person.id, text=said, at=now))
        people.audit(db, now, person.id, "contested", judgment)

    store.write(work)


def reply(store: Store, by: Person, n: int, text: str) -> None:
    """A reviewer's answer; a later one replaces it. Raises NotFound, NotAllowed, BadVerdict."""
    said = _text(text, "the answer")

    def work(db: Connection, now: float) -> None:
        people.require(db, by.id, Role.reviewer)
        answered = update(ContestRow).where(ContestRow.n == n)
        if db.execute(answered.values(reply=said, replied=now, replied_by=by.id)).rowcount != 1:
            raise NotFound("no such objection")
        people.audit(db, now, by.id, "answered contest", str(n))

    store.write(work)


def _checks() -> Select[Any]:
    """Standing judgments with a known verdict; written answers have none."""
    later = aliased(JudgmentRow)
    return (
        select(JudgmentRow.record, GroupRow.record.label("group"), ItemRow.gold, ItemRow.explanation, *_contest())
        .join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .outerjoin(ContestRow, ContestRow.judgment == JudgmentRow.id)
        .where(JudgmentRow.is_gold, JudgmentRow.outcome != "skip", ItemRow.gold.is_not(None), ItemRow.kind != "write")
        .where(~select(later.n).where(later.supersedes == JudgmentRow.id).exists())
    )


def _contest() -> tuple[Any, ...]:
    return (ContestRow.n, ContestRow.text, ContestRow.at, ContestRow.reply, ContestRow.replied)


def _check(row: Row[Any]) -> Check:
    judgment = Judgment.model_validate_json(row.record)
    return Check(
        judgment,
        Group.model_validate_json(row.group),
        known=tuple(tuple(tier) for tier in json.loads(row.gold)),
        explanation=row.explanation or "",
        right=is_right(judgment.tiers, row.gold),
        contest=None if row.n is None else Contest(row.n, row.text, row.at, row.reply, row.replied),
    )


def _text(text: str, what: str) -> str:
    """The text, fit for either database. Raises BadVerdict."""
    said = text.replace("\x00", "").strip()
    if not 1 <= len(said) <= MOST_CHARACTERS:
        raise BadVerdict(f"write {what} in 1 to {MOST_CHARACTERS} characters")
    try:
        said.encode()
    except UnicodeEncodeError:
        raise BadVerdict("the text is not valid Unicode") from None
    return said
