"""What a rater gets next, and for how long.

A place of an item is claimed by one conditional UPDATE (`taken < overlap`), which the table's own check backs: two
raters who race for the last place never both get it, on either database. Every draw is a hash of the queue's seed,
the person and how many items he was given, so that each choice can be explained afterwards.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from assent.core.hashing import content_id
from assent.core.records import Answer, Group, Prompt
from assent.feedback import guidelines, quiz
from assent.feedback.choice import PLACED, Choice, choose, give_place, put_back
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.records import Assignment, Kind, Person, Queue, Wait, Why
from assent.feedback.schema import AssignmentRow, GroupRow, GuidelineRow, ItemRow, JudgmentRow, ReadRow, SettingRow

LEASE_SECONDS = 15 * 60.0
MOST_LEASES = 5
DAY = 24 * 3600.0
LONGEST_ID = 400
"""Characters of a group's id: PostgreSQL indexes 2,700 bytes at most."""
SIZES: dict[Kind, tuple[int, int]] = {"compare": (2, 2), "rank": (2, 9), "write": (1, 1)}
Tiers = Sequence[Sequence[str]]
_VERSION = select(GuidelineRow.version).order_by(GuidelineRow.n.desc()).limit(1).scalar_subquery()
_IN_FORCE = select(
    _VERSION,
    select(ReadRow.at).where(ReadRow.person == bindparam("person"), ReadRow.version == _VERSION).scalar_subquery(),
    select(SettingRow.value).where(SettingRow.name == "queue").scalar_subquery(),
)
"""The guideline's version, when a person read it, and the rules of the queue: one question."""
_ASSIGNMENT = (
    select(AssignmentRow.__table__, ItemRow.kind, ItemRow.category, GroupRow.record)
    .join(ItemRow, ItemRow.n == AssignmentRow.item)
    .join(GroupRow, GroupRow.id == ItemRow.group)
    .where(AssignmentRow.id == bindparam("id"), AssignmentRow.person == bindparam("person"))
)
_SAME_TURN = and_(AssignmentRow.person == bindparam("person"), AssignmentRow.turn == bindparam("turn"))
_TO_LEASE = (
    select(ItemRow.kind, ItemRow.category, GroupRow.record, AssignmentRow.id, AssignmentRow.state)
    .join(GroupRow, GroupRow.id == ItemRow.group)
    .outerjoin(AssignmentRow, and_(AssignmentRow.item == ItemRow.n, _SAME_TURN))
    .where(ItemRow.n == bindparam("item"))
)
"""An item with its group, and the person's own assignment of it, if he has one."""


def blank(prompt: Prompt) -> Group:
    """A prompt to be answered, as a group: with one empty answer, which is never shown."""
    return Group(prompt=prompt, answers=(Answer.of(prompt, "", source="nobody"),))


def add_group(db: Connection, group: Group) -> bool:
    """Whether the group is new. Raises BadVerdict: an id that a database cannot hold."""
    if "\x00" in group.id or len(group.id) > LONGEST_ID:
        raise BadVerdict(f"a group's id has at most {LONGEST_ID} characters, without U+0000", where=group.id[:40])
    if db.execute(select(GroupRow.n).where(GroupRow.id == group.id)).first():
        return False
    db.execute(insert(GroupRow).values(id=group.id, record=group.model_dump_json(exclude_defaults=True)))
    return True


def add_item(
    db: Connection, group: Group, kind: Kind, overlap: int, gold: Tiers | None, quiz: bool, rank: float
) -> bool:
    """Put a group in the queue; whether it was not there yet. Raises BadVerdict."""
    least, most = SIZES[kind]
    if not least <= len(group.answers) <= most:
        raise BadVerdict(f"`{kind}` needs {least} to {most} answers, not {len(group.answers)}", where=group.id)
    if gold is not None and sorted(a for tier in gold for a in tier) != sorted(a.id for a in group.answers):
        raise BadVerdict("the gold verdict does not place every answer once", where=group.id)
    add_group(db, group)
    if db.execute(select(ItemRow.n).where(ItemRow.group == group.id, ItemRow.kind == kind)).first():
        return False
    part = "work" if gold is None else "quiz" if quiz else "gold"
    sensitive = group.prompt.tags.get("sensitive")
    db.execute(
        insert(ItemRow).values(
            group=group.id,
            kind=kind,
            part=part,
            overlap=overlap if part == "work" else 0,
            gold=None if gold is None else json.dumps([sorted(tier) for tier in gold]),
            category=sensitive if isinstance(sensitive, str) and sensitive and sensitive.isprintable() else None,
            rank=rank,
        )
    )
    return True


def rank(db: Connection, ranks: Mapping[str, float]) -> None:
    """Set places in line by group id; smaller first, 0 where nothing was set."""
    for group, value in ranks.items():
        db.execute(update(ItemRow).where(ItemRow.group == group).values(rank=value))


def settings(db: Connection) -> Queue:
    """How the next item is chosen."""
    return _rules(db.execute(select(SettingRow.value).where(SettingRow.name == "queue")).scalar())


def _rules(value: str | None) -> Queue:
    return Queue() if value is None else Queue.model_validate_json(value)


def release(db: Connection, now: float) -> int:
    """Take back leases that ended; how many."""
    return put_back(db, AssignmentRow.expires <= now)


def any_ended(db: Connection, now: float) -> bool:
    """Whether `release` has something to do."""
    ended = select(AssignmentRow.id).where(AssignmentRow.state == "leased", AssignmentRow.expires <= now)
    return db.execute(ended.limit(1)).first() is not None


def next_item(db: Connection, now: float, person: Person, held: Collection[str]) -> Assignment | Wait:
    """The oldest lease not in `held`, or a new one, or why there is none."""
    version, read, rules = db.execute(_IN_FORCE, {"person": person.id}).one()
    if version is not None and read is None:
        return Wait(reason="guideline", detail=version)
    leases = _leases(db, now, person)
    if waiting := [lease for lease in leases if lease not in held]:
        db.execute(update(AssignmentRow).where(AssignmentRow.id == waiting[0]).values(guideline=version))
        return assignment(db, waiting[0], person)
    if len(leases) >= MOST_LEASES:
        return Wait(reason="nothing", detail=f"{MOST_LEASES} items are in hand")
    cap = person.daily_cap  # what is in hand counts: it will be judged, too
    if cap is not None and judged_since(db, person.id, now - now % DAY) + len(leases) >= cap:
        return Wait(reason="cap")
    rules = _rules(rules)
    test = quiz.standing(db, person)
    if test is not None and not test.left and not test.passed(rules):
        return Wait(reason="quiz", detail=f"{test.right} of {test.total}")
    asked = Choice(test.left[0], "quiz", test.turn) if test is not None and test.left else None
    found = asked or choose(db, person, rules)
    if found is None:
        return Wait(reason="nothing")
    return _lease(db, now, person, found, version)


def adjudication(db: Connection, now: float, person: Person, group: str) -> Assignment:
    """A group for a reviewer to settle, outside the overlap. Raises NotFound."""
    found = select(ItemRow.n).where(ItemRow.group == group, ItemRow.kind != "write").limit(1)
    item = db.execute(found).scalar() if group.isprintable() else None  # databases refuse some other characters
    if item is None:
        raise NotFound("no such group in the queue")
    version = guidelines.current_version(db)
    return _lease(db, now, person, Choice(item, "adjudication", -1), version)


def assignment(db: Connection, id: str, person: Person) -> Assignment:
    """An assignment of this person. Raises NotFound, also for somebody else's."""
    if not id.isprintable():
        raise NotFound("no such assignment")
    row = db.execute(_ASSIGNMENT, {"id": id, "person": person.id}).one_or_none()
    if row is None:
        raise NotFound("no such assignment")
    return Assignment(
        id=row.id,
        kind=row.kind,
        group=Group.model_validate_json(row.record),
        shown_order=tuple(json.loads(row.shown_order)),
        guideline=row.guideline,
        expires=row.expires,
        why=row.why,
        category=row.category,
    )


def judged_since(db: Connection, person: str, since: float) -> int:
    """Acts that stand and are no skip."""
    replaced = select(JudgmentRow.supersedes).where(JudgmentRow.person == person, JudgmentRow.supersedes.is_not(None))
    count = select(func.count()).where(
        JudgmentRow.person == person,
        JudgmentRow.at >= since,
        JudgmentRow.outcome != "skip",
        JudgmentRow.id.not_in(replaced),
    )
    return int(db.execute(count).scalar_one())


def _leases(db: Connection, now: float, person: Person) -> list[str]:
    rows = db.execute(
        select(AssignmentRow.id)
        .where(AssignmentRow.person == person.id, AssignmentRow.state == "leased", AssignmentRow.expires > now)
        .order_by(AssignmentRow.given, AssignmentRow.n)
    )
    return list(rows.scalars())


def foresee(db: Connection, now: float, person: Person, count: int) -> list[Why]:
    """Why each of the next `count` items would be chosen. It leases them: for a transaction that is rolled back."""
    rules, found = settings(db), list[Why]()
    while len(found) < count and (choice := choose(db, person, rules)) is not None:
        _lease(db, now, person, choice, None)
        found.append(choice.why)
    return found


def _lease(db: Connection, now: float, person: Person, choice: Choice, guideline: str | None) -> Assignment:
    """A new lease; a lease of the same item that ended is taken up again."""
    item, why, turn = choice
    holds = why in PLACED
    values = {"state": "leased", "holds": holds, "guideline": guideline, "given": now, "expires": now + LEASE_SECONDS}
    found = db.execute(_TO_LEASE, {"item": item, "person": person.id, "turn": turn}).one()
    if found.id is not None:
        again = update(AssignmentRow).where(AssignmentRow.id == found.id, AssignmentRow.state == "expired")
        # Work may be a check item by now. Otherwise it keeps why it was first chosen: `mix` counts conflicts so.
        if db.execute(again.values(**values, why=AssignmentRow.why if holds else why)).rowcount != 1 and holds:
            give_place(db, item)  # his other tab was first
        return assignment(db, found.id, person)
    id, group = secrets.token_urlsafe(16), Group.model_validate_json(found.record)
    order = [] if found.kind == "write" else [answer.id for answer in group.answers]
    if why != "adjudication":  # who settles an item saw it on its page, in the group's own order
        random.Random(content_id("order", id)).shuffle(order)
    row = {"id": id, "item": item, "person": person.id, "turn": turn, "why": why, "shown_order": json.dumps(order)}
    db.execute(insert(AssignmentRow).values(**row, **values))
    return Assignment(
        id=id,
        kind=found.kind,
        group=group,
        shown_order=tuple(order),
        guideline=guideline,
        expires=now + LEASE_SECONDS,
        why=why,
        category=found.category,
    )
