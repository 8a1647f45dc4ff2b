"""Items of the queue as a lead sees and changes them: more judgments wanted, or no more. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, select, update

from assent.core.records import Group
from assent.feedback.errors import BadVerdict
from assent.feedback.people import audit
from assent.feedback.records import Kind
from assent.feedback.schema import GroupRow, ItemRow
from assent.feedback.store import Store

MOST_OVERLAP = 50
Items = ColumnElement[bool]
"""Some items of the queue, as `these` and `of_stack` name them."""


@dataclass(frozen=True)
class Stack:
    """Items of one kind and part of which equally many judgments are wanted."""

    kind: Kind
    part: str
    overlap: int
    items: int
    free: int
    """Places that are neither judged nor in somebody's hands."""
    full: int
    """Items without a free place."""

    @property
    def key(self) -> str:
        """Names the stack in a form."""
        return f"{self.kind}/{self.overlap}"


@dataclass(frozen=True)
class Waiting:
    """An item that has a free place."""

    n: int
    kind: Kind
    prompt: str
    overlap: int
    taken: int
    rank: float


def stacks(store: Store) -> list[Stack]:
    """All items, by kind, part and overlap."""
    columns = (ItemRow.kind, ItemRow.part, ItemRow.overlap)
    counts = (
        func.count().label("items"),
        func.sum(ItemRow.overlap - ItemRow.taken).label("free"),
        func.count(case((ItemRow.taken == ItemRow.overlap, 1))).label("full"),
    )
    rows = select(*columns, *counts).group_by(*columns).order_by(ItemRow.part.desc(), ItemRow.kind, ItemRow.overlap)
    return store.read(lambda db: [Stack(**row) for row in db.execute(rows).mappings()])


def first_in_line(store: Store, count: int) -> list[Waiting]:
    """The items that are handed out first, in order."""
    rows = (
        select(ItemRow.n, ItemRow.kind, GroupRow.record, ItemRow.overlap, ItemRow.taken, ItemRow.rank)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.part == "work", ItemRow.taken < ItemRow.overlap)
        .order_by(ItemRow.rank, ItemRow.n)
        .limit(count)
    )
    found = [dict(row) for row in store.read(lambda db: db.execute(rows).mappings().all())]
    return [Waiting(prompt=Group.model_validate_json(row.pop("record")).prompt.text, **row) for row in found]


def these(items: Sequence[int]) -> Items:
    """Items by number."""
    return ItemRow.n.in_(items)


def of_stack(key: str) -> Items:
    """Items of a stack by its key. Raises BadVerdict."""
    kind, _, overlap = key.partition("/")
    if not (overlap.isascii() and overlap.isdecimal() and len(overlap) < 4 and kind.isalpha()):
        raise BadVerdict("no such items")
    return (ItemRow.kind == kind) & (ItemRow.overlap == int(overlap))


def want(store: Store, items: Items, overlap: int, by: str | None) -> int:
    """Want at least so many judgments of these items; how many items that changed. Raises BadVerdict."""
    if not 1 <= overlap <= MOST_OVERLAP:
        raise BadVerdict(f"judgments wanted of an item: 1 to {MOST_OVERLAP}")
    more = update(ItemRow).where(ItemRow.part == "work", ItemRow.overlap < overlap, items)

    def work(db: Connection, now: float) -> int:
        changed: int = db.execute(more.values(overlap=overlap, withdrawn=None)).rowcount
        audit(db, now, by, "overlap raised", f"{changed} items to {overlap}")
        return changed

    return store.write(work)


def take_out(store: Store, items: Items, by: str | None) -> int:
    """Want no more judgments of these items than there are or are in hand; how many items that changed."""
    open_ = (ItemRow.part == "work", ItemRow.taken < ItemRow.overlap)
    less = update(ItemRow).where(*open_, items).values(overlap=ItemRow.taken)

    def work(db: Connection, now: float) -> int:
        changed: int = db.execute(less).rowcount
        audit(db, now, by, "taken out of the queue", f"{changed} items")
        return changed

    return store.write(work)
