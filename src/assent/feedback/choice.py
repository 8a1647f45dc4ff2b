"""Which item a person gets next, and why: check items, repeats, a random sample, conflicts, else the line.

Every draw is a hash of the queue's seed, the person and how many items he was given, so that each choice can be
explained afterwards. A place is claimed by one conditional UPDATE, see `take_place`.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from assent.core.hashing import hash_int
from assent.feedback import mix
from assent.feedback.records import Person, Queue, Why
from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow

REPEAT_AFTER = 10
"""Fewest items between an item and its repeat."""
PLACED: tuple[Why, ...] = ("plain", "control", "conflict")
"""What occupies one of an item's places."""


class Choice(NamedTuple):
    """Item, why it was chosen, and its turn: 0 the first, 1 a repeat, -1 to settle it, below that tries at the quiz."""

    item: int
    why: Why
    turn: int = 0


def choose(db: Connection, person: Person, rules: Queue) -> Choice | None:
    """An item with its place claimed, None where none is left."""
    given = db.execute(select(func.count()).where(AssignmentRow.person == person.id)).scalar_one()
    draw = hash_int("queue", rules.seed, person.id, given) / 2**63
    spot = hash_int("spot", rules.seed, person.id, given)
    if draw < rules.gold and (item := _gold(db, person, spot)) is not None:
        return Choice(item, "gold")
    if rules.gold <= draw < rules.gold + rules.repeat and (item := _repeat(db, person)) is not None:
        return Choice(item, "repeat", 1)
    known = rules.gold + rules.repeat
    control = known <= draw < known + rules.control
    differ = known + rules.control <= draw < known + rules.control + rules.conflict
    if differ and (item := mix.conflict(db, person.id, spot, _allowed(person))) is not None:
        return Choice(item, "conflict")
    while (item := _open(db, person, spot if control else None)) is not None:
        if take_place(db, item):  # another rater may have taken the last place since
            return Choice(item, "control" if control else "plain")
    if rules.conflict and not differ and (item := mix.conflict(db, person.id, spot, _allowed(person))) is not None:
        return Choice(item, "conflict")  # nothing else is left
    return None


def take_place(db: Connection, item: int) -> bool:
    """Claim one of an item's places; whether there was one."""
    free = update(ItemRow).where(ItemRow.n == item, ItemRow.taken < ItemRow.overlap)
    return db.execute(free.values(taken=ItemRow.taken + 1)).rowcount == 1


def give_place(db: Connection, item: int) -> None:
    """Give a claimed place back."""
    db.execute(update(ItemRow).where(ItemRow.n == item).values(taken=ItemRow.taken - 1))


def put_back(db: Connection, *which: ColumnElement[bool]) -> int:
    """End leases before they are answered, and give their places back; how many.

    Locked: a place must not be given back here and by a lease that ends, or that is answered, at the same moment. Of
    two at once the second waits; their locks have one order.
    """
    held = select(AssignmentRow.id, AssignmentRow.item, AssignmentRow.holds).where(
        AssignmentRow.state == "leased", *which
    )
    rows = db.execute(held.order_by(AssignmentRow.item, AssignmentRow.n).with_for_update()).all()
    for row in rows:
        db.execute(update(AssignmentRow).where(AssignmentRow.id == row.id).values(state="expired", holds=False))
        if row.holds:
            give_place(db, row.item)
    return len(rows)


def has_opened(db: Connection, person: str, item: int) -> bool:
    """Whether a person opened an item as a case, and so knows what others said."""
    case = (AssignmentRow.item == item, AssignmentRow.person == person, AssignmentRow.why == "adjudication")
    return db.execute(select(AssignmentRow.n).where(*case).limit(1)).first() is not None


def _mine(person: Person) -> ColumnElement[bool]:
    """Whether an item is or was in this person's hands; a lease that ended does not count, a case he opened does.

    A list that is made once, not a question for each item: without statistics PostgreSQL joined all items first.
    """
    seen = or_(AssignmentRow.state != "expired", AssignmentRow.why == "adjudication")
    return ItemRow.n.in_(select(AssignmentRow.item).where(AssignmentRow.person == person.id, seen))


def _wanted(person: Person) -> list[ColumnElement[bool]]:
    """No category that he opted out of."""
    return [or_(ItemRow.category.is_(None), ItemRow.category.not_in(person.opted_out))] if person.opted_out else []


def _allowed(person: Person) -> list[ColumnElement[bool]]:
    return [~_mine(person), *_wanted(person)]


def _open(db: Connection, person: Person, spot: int | None) -> int | None:
    """The first open item in line, or with `spot` one drawn at random: the first from a random number on."""
    free = (ItemRow.part == "work", ItemRow.taken < ItemRow.overlap)
    wanted = select(ItemRow.n).where(*free, *_allowed(person)).limit(1)
    if spot is None:
        return db.execute(wanted.order_by(ItemRow.rank, ItemRow.n)).scalar()
    last = db.execute(select(func.max(ItemRow.n))).scalar() or 0
    start = spot % (last + 1)
    after = db.execute(wanted.where(ItemRow.n >= start).order_by(ItemRow.n)).scalar()
    return after if after is not None else db.execute(wanted.order_by(ItemRow.n)).scalar()


def _gold(db: Connection, person: Person, spot: int) -> int | None:
    items = list(
        db.execute(select(ItemRow.n).where(ItemRow.part == "gold", *_allowed(person)).order_by(ItemRow.n)).scalars()
    )
    return items[spot % len(items)] if items else None


def _repeat(db: Connection, person: Person) -> int | None:
    """The item this person ranked longest ago and saw once, when enough others lie between."""
    mine = select(AssignmentRow.item).where(AssignmentRow.person == person.id)
    once = mine.group_by(AssignmentRow.item).having(func.count() == 1)
    first = db.execute(
        select(AssignmentRow.item, AssignmentRow.n)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(AssignmentRow.person == person.id, AssignmentRow.state == "done", AssignmentRow.item.in_(once))
        .where(ItemRow.part == "work", ItemRow.kind != "write", JudgmentRow.outcome == "ranked", *_wanted(person))
        .order_by(AssignmentRow.n)
        .limit(1)
    ).first()
    if first is None:
        return None
    since = select(func.count()).where(AssignmentRow.person == person.id, AssignmentRow.n > first.n)
    return int(first.item) if db.execute(since).scalar_one() >= REPEAT_AFTER else None
