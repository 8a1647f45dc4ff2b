"""Items with a known verdict: the quiz before work and the checks during it, explained after the answer.

An item of the queue becomes a check item where it stands: judgments made on it before stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from assent.core.records import Group, Judgment
from assent.feedback import people, queue, quiz
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.records import Kind, Person, Role
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

MOST_CHARACTERS = 4000
PARTS = ("quiz", "gold", "retired")
"""Asked first of everybody, mixed in for everybody, asked no more."""
Tiers = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Known:
    """A group and what is known of it: tiers of answer ids, and why."""

    group: Group
    tiers: Tiers
    explanation: str = ""

    @property
    def kind(self) -> Kind:
        """Two answers are compared, more are ranked."""
        return "compare" if len(self.group.answers) == 2 else "rank"


@dataclass(frozen=True)
class CheckItem:
    """A check item as it stands. `right` of `answered` people said at their first answer what is known."""

    n: int
    part: str
    known: Known
    answered: int
    right: int


@dataclass(frozen=True)
class Explained:
    """What a rater is told after a check item. `known`: tiers of places on his screen, 0 the first shown."""

    right: bool
    known: tuple[tuple[int, ...], ...]
    text: str
    quiz: bool


def add(store: Store, items: Sequence[Known], quiz: bool, by: Person) -> int:
    """Make groups check items, all or none; how many are new. Raises BadVerdict, NotAllowed."""
    part = "quiz" if quiz else "gold"

    def work(db: Connection, now: float) -> int:
        people.require(db, by.id, Role.lead)
        added = sum(_make(db, item, part) for item in items)
        people.audit(db, now, by.id, "check items added", f"{added} to {part}")
        return added

    return store.write(work)


def _make(db: Connection, item: Known, part: str) -> bool:
    """Whether it was none before. A place that somebody holds stays his; the others are closed."""
    told = _text(item.explanation)
    same = (ItemRow.group == item.group.id, ItemRow.kind == item.kind)
    before = db.execute(select(ItemRow.part).where(*same)).scalar()
    if before in ("quiz", "gold"):
        return False
    if before is None:
        queue.add_item(db, item.group, item.kind, 1, item.tiers, part == "quiz", 0.0)
        db.execute(update(ItemRow).where(*same).values(explanation=told))
        return True
    if sorted(a for tier in item.tiers for a in tier) != sorted(a.id for a in item.group.answers):
        raise BadVerdict("the known verdict does not place every answer once", where=item.group.id)
    gold = json.dumps([sorted(tier) for tier in item.tiers])
    values = {"part": part, "gold": gold, "explanation": told, "overlap": ItemRow.taken}
    return db.execute(update(ItemRow).where(*same, ItemRow.part == before).values(**values)).rowcount == 1


def explain_as(store: Store, n: int, explanation: str, by: Person) -> None:
    """Another explanation for a check item. Raises NotFound, BadVerdict, NotAllowed."""
    _change(store, n, by, "check item explained", explanation=_text(explanation))


def retire(store: Store, n: int, by: Person) -> None:
    """Ask a check item no more; what was answered stays. Raises NotFound, NotAllowed."""
    _change(store, n, by, "check item retired", part="retired")


def _change(store: Store, n: int, by: Person, said: str, **values: str) -> None:
    def work(db: Connection, now: float) -> None:
        people.require(db, by.id, Role.lead)
        if db.execute(update(ItemRow).where(ItemRow.n == n, ItemRow.part.in_(PARTS)).values(**values)).rowcount != 1:
            raise NotFound("no such check item")
        people.audit(db, now, by.id, said, str(n))

    store.write(work)


def _text(explanation: str) -> str:
    said = explanation.replace("\x00", "").strip()
    if len(said) > MOST_CHARACTERS:
        raise BadVerdict(f"an explanation has at most {MOST_CHARACTERS} characters")
    try:
        said.encode()
    except UnicodeEncodeError:
        raise BadVerdict("the explanation is not valid Unicode") from None
    return said


def candidates(store: Store, words: str = "", limit: int = 30) -> list[tuple[int, Group]]:
    """Items of the queue that could become check items, those whose text holds `words`; number and group."""
    wanted = (
        select(ItemRow.n, GroupRow.record)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.part.in_(("work", "retired")), ItemRow.kind != "write")
        .order_by(ItemRow.n)
        .limit(limit)
    )
    if words and words.isprintable():
        # Records are JSON, in which text stands as it is but for quotes, backslashes and line ends.
        inside = json.dumps(words, ensure_ascii=False)[1:-1]
        wanted = wanted.where(GroupRow.record.icontains(inside, autoescape=True))
    rows = store.read(lambda db: db.execute(wanted).all())
    return [(row.n, Group.model_validate_json(row.record)) for row in rows]


def item(store: Store, n: int) -> tuple[str, Known]:
    """Part and content of an item to compare or rank; without a known verdict it has no tiers. Raises NotFound."""
    wanted = (
        select(ItemRow.part, ItemRow.gold, ItemRow.explanation, GroupRow.record)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.n == n, ItemRow.kind != "write")
    )
    row = store.read(lambda db: db.execute(wanted).one_or_none()) if 0 <= n < 2**31 else None
    if row is None:
        raise NotFound("no such item to compare or to rank")
    return row.part, Known(Group.model_validate_json(row.record), _tiers(row.gold), row.explanation or "")


def _tiers(gold: str | None) -> Tiers:
    return tuple(tuple(tier) for tier in json.loads(gold or "[]"))


def overview(store: Store) -> list[CheckItem]:
    """Every check item with how many people got it right at once: quiz first, then checks, then retired ones."""
    return sorted(store.read(_overview), key=lambda item: (PARTS.index(item.part), item.n))


def _overview(db: Connection) -> list[CheckItem]:
    answers = (
        select(AssignmentRow.item, AssignmentRow.person, JudgmentRow.record)
        .join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .where(JudgmentRow.is_gold, JudgmentRow.outcome != "skip")
        .order_by(JudgmentRow.n.desc())
    )
    first = {(row.item, row.person): row.record for row in db.execute(answers)}  # the earliest comes last
    said: dict[int, list[Tiers]] = {}
    for (number, _), record in first.items():
        said.setdefault(number, []).append(Judgment.model_validate_json(record).tiers)
    items = (
        select(ItemRow.n, ItemRow.part, ItemRow.gold, ItemRow.explanation, GroupRow.record)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.part.in_(PARTS), ItemRow.kind != "write")
    )
    return [
        CheckItem(
            n=row.n,
            part=row.part,
            known=Known(Group.model_validate_json(row.record), _tiers(row.gold), row.explanation or ""),
            answered=len(said.get(row.n, [])),
            right=sum(quiz.is_right(tiers, row.gold) for tiers in said.get(row.n, [])),
        )
        for row in db.execute(items)
    ]


def explained(store: Store, judgment: Judgment) -> Explained | None:
    """What to tell after an answer; None where it was no check item, or was skipped."""
    if not judgment.is_gold or judgment.outcome == "skip":
        return None
    wanted = (
        select(ItemRow.gold, ItemRow.explanation, AssignmentRow.why)
        .join(AssignmentRow, AssignmentRow.item == ItemRow.n)
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(JudgmentRow.id == judgment.id, ItemRow.kind != "write", ItemRow.gold.is_not(None))
    )
    row = store.read(lambda db: db.execute(wanted).one_or_none())
    if row is None:
        return None
    place = {answer: k for k, answer in enumerate(judgment.shown_order)}
    return Explained(
        right=quiz.is_right(judgment.tiers, row.gold),
        known=tuple(tuple(sorted(place[answer] for answer in tier)) for tier in _tiers(row.gold)),
        text=row.explanation or "",
        quiz=row.why == "quiz",
    )
