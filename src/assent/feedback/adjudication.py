"""Items on which people oppose each other, and what a reviewer says in the end.

A settling is a judgment like any other, outside the overlap, with the reason `adjudicated`: who reads the data can
take it as the last word or leave it out. It is not blind, since the reviewer saw what the others said.

Who opens a case is not handed the item to judge any more. The row that says so is the assignment, which `settle` takes
up; it is no lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import Connection, func, select, update

from assent.core.records import Group, Judgment
from assent.feedback import acts, choice, guidelines, people, queue
from assent.feedback.acts import SETTLED
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.reads import standing
from assent.feedback.records import Kind, Person, Role, Verdict
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store


@dataclass(frozen=True)
class Case:
    """An item judged by several raters. `voices`: the first verdict of each that stands, in the order they came."""

    group: Group
    kind: Kind
    voices: tuple[Judgment, ...]
    opposition: int
    """`opposition` of the voices."""
    settled: Judgment | None
    """The latest settling that stands."""


def opposition(voices: Sequence[Judgment]) -> int:
    """How strongly raters oppose each other: 0 not at all, to 3 where somebody says much better and another much worse.

    Of the pair of answers they oppose each other on most, the weaker side's strongest word. Where no strength was
    asked (a ranking), it is the distance in places, at most 3.
    """
    strongest: dict[tuple[str, str], int] = {}
    for act in voices:
        for high, low in combinations(range(len(act.tiers)), 2):
            word = act.strength or min(3, low - high)
            for pair in ((better, worse) for better in act.tiers[high] for worse in act.tiers[low]):
                strongest[pair] = max(word, strongest.get(pair, 0))
    return max((min(word, strongest.get((worse, better), 0)) for (better, worse), word in strongest.items()), default=0)


def cases(store: Store) -> list[Case]:
    """Items of the queue on which raters oppose each other: open ones first, strong opposition before weak."""
    found = [case for case in store.read(_cases) if case.opposition or case.settled]
    return sorted(found, key=lambda c: (c.settled is not None, -c.opposition, -len(c.voices), c.group.id))


def case(store: Store, group: str) -> Case:
    """One item as a case, whether people oppose each other on it or not. Raises NotFound."""
    found = store.read(lambda db: _cases(db, group)) if group.isprintable() else []
    if not found:
        raise NotFound("no such item with judgments")
    return found[0]


def opened(store: Store, person: Person, group: str) -> Case:
    """The same for somebody who reads it: if he has the item in hand, to judge it blind, it goes to somebody else.

    Raises NotFound.
    """
    found = case(store, group)

    def work(db: Connection, now: float) -> None:
        given = queue.adjudication(db, now, person, group)
        item = select(AssignmentRow.item).where(AssignmentRow.id == given.id).scalar_subquery()
        choice.put_back(db, AssignmentRow.person == person.id, AssignmentRow.item == item)

    store.write(work)
    return found


def settle(store: Store, person: Person, group: str, client_key: str, verdict: Verdict) -> Judgment:
    """A reviewer's last word on an item; said again it supersedes what he said before. `client_key`: as in `submit`.

    Raises NotAllowed, NotFound, BadVerdict.
    """
    if verdict.outcome == "skip":
        raise BadVerdict("a case is settled by a verdict; leave it open instead of skipping it")

    def work(db: Connection, now: float) -> Judgment:
        reviewer = people.require(db, person.id, Role.reviewer)
        given = queue.adjudication(db, now, reviewer, group)
        mine = (JudgmentRow.person == reviewer.id, JudgmentRow.client_key == client_key)
        if db.execute(select(JudgmentRow.n).where(*mine)).first() is None:
            values = {"state": "leased", "guideline": guidelines.current_version(db)}
            db.execute(update(AssignmentRow).where(AssignmentRow.id == given.id).values(**values))
            people.audit(db, now, reviewer.id, "settled", group)
        return acts.submit(db, now, reviewer, given, client_key, verdict)

    return store.write(work)


def _cases(db: Connection, group: str | None = None) -> list[Case]:
    """Work items that two raters judged at least, or the one of `group`."""
    judged = select(JudgmentRow.group).where(JudgmentRow.outcome != "skip").group_by(JudgmentRow.group)
    many = judged.having(func.count(JudgmentRow.rater.distinct()) > 1)
    items = (
        select(ItemRow.group, ItemRow.kind, GroupRow.record)
        .join(GroupRow, GroupRow.id == ItemRow.group)
        .where(ItemRow.kind != "write", ItemRow.part == "work")
        .where(ItemRow.group == group if group is not None else ItemRow.group.in_(many))
    )
    rows = select(JudgmentRow.group, JudgmentRow.record).order_by(JudgmentRow.n)
    rows = rows.where(JudgmentRow.group == group if group is not None else JudgmentRow.group.in_(many))
    made: dict[str, list[Judgment]] = {}
    for row in db.execute(rows):
        made.setdefault(row.group, []).append(Judgment.model_validate_json(row.record))
    return [_case(row.record, row.kind, standing(made[row.group])) for row in db.execute(items) if row.group in made]


def _case(record: str, kind: Kind, said: list[Judgment]) -> Case:
    voices: dict[str, Judgment] = {}
    for act in said:
        if act.outcome != "skip" and SETTLED not in act.reasons:
            voices.setdefault(act.rater, act)
    settled = [act for act in said if SETTLED in act.reasons]
    heard = tuple(voices.values())
    return Case(Group.model_validate_json(record), kind, heard, opposition(heard), settled[-1] if settled else None)
