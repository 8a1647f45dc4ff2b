"""Items that do not get done: people skip them, flag them, or let them lie until the lease ends."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, Select, select

from assent.core.records import Group
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

SKIPS, FLAGS, LEASES = 2, 2, 3
"""An item is stuck when so many people skipped it, flagged it, or had a lease of it that ended."""


@dataclass(frozen=True)
class Stuck:
    """An unfinished item and the people, each counted once, who did not get on with it."""

    group: str
    kind: str
    prompt: str
    missing: int
    """Judgments that are still wanted."""
    skipped: int
    flagged: int
    ended: int


def stuck(store: Store, flag: str) -> list[Stuck]:
    """Stuck items, worst first. Parameters: `flag`, the reason by which a judgment flags its item."""
    return store.read(lambda db: _stuck(db, flag))


def _stuck(db: Connection, flag: str) -> list[Stuck]:
    open_items = select(ItemRow.n, ItemRow.kind, ItemRow.group, (ItemRow.overlap - ItemRow.taken).label("missing"))
    rows = db.execute(open_items.where(ItemRow.part == "work", ItemRow.taken < ItemRow.overlap)).all()
    skipped, flagged, ended = _people(db, _skips()), _flagged(db, flag), _people(db, _ended())
    found = [
        Stuck(row.group, row.kind, "", row.missing, len(skipped[row.n]), len(flagged[row.n]), len(ended[row.n]))
        for row in rows
        if len(skipped[row.n]) >= SKIPS or len(flagged[row.n]) >= FLAGS or len(ended[row.n]) >= LEASES
    ]
    found.sort(key=lambda one: (-(one.skipped + one.flagged + one.ended), one.group))
    return [_with_prompt(db, one) for one in found]


def _with_prompt(db: Connection, one: Stuck) -> Stuck:
    record = db.execute(select(GroupRow.record).where(GroupRow.id == one.group)).scalar_one()
    text = Group.model_validate_json(record).prompt.text
    return Stuck(one.group, one.kind, text, one.missing, one.skipped, one.flagged, one.ended)


def _people(db: Connection, rows: Select[int, str]) -> dict[int, set[str]]:
    people: dict[int, set[str]] = defaultdict(set)
    for item, person in db.execute(rows):
        people[item].add(person)
    return people


def _ended() -> Select[int, str]:
    ended = (AssignmentRow.state == "expired", AssignmentRow.why != "adjudication")
    return select(AssignmentRow.item, AssignmentRow.person).where(*ended)


def _skips() -> Select[int, str]:
    return _acts().where(JudgmentRow.outcome == "skip")


def _acts() -> Select[int, str]:
    """(item, person) of acts that neither were superseded nor take something back."""
    replaced = select(JudgmentRow.supersedes).where(JudgmentRow.supersedes.is_not(None))
    acts = select(AssignmentRow.item, AssignmentRow.person).join(
        JudgmentRow, JudgmentRow.assignment == AssignmentRow.id
    )
    return acts.where(~JudgmentRow.undone, JudgmentRow.id.not_in(replaced))


def _flagged(db: Connection, flag: str) -> dict[int, set[str]]:
    # The text is looked through first, since few records hold the flag; a note may hold the same word.
    rows = _acts().add_columns(JudgmentRow.record).where(JudgmentRow.record.contains(f'"{flag}"', autoescape=True))
    people: dict[int, set[str]] = defaultdict(set)
    for item, person, record in db.execute(rows):
        if flag in json.loads(record).get("reasons", ()):
            people[item].add(person)
    return people
