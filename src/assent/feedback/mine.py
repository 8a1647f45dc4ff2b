"""What a person sees of his own work: the groups it is about, what he was shown, how far others say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from assent.core.records import Group, Judgment
from assent.feedback.acts import SETTLED
from assent.feedback.records import Person
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store
from assent.stats.agreement import Vote, votes
from assent.stats.bootstrap import Interval, mean_interval

MOST_SHARED = 1000
"""Items that agreement is computed over: the latest ones."""


@dataclass(frozen=True)
class Exposure:
    """Items of one category of sensitive content that a person was shown, and the seconds they were in view."""

    category: str
    items: int
    seconds: float


def groups_of(store: Store, ids: Collection[str]) -> dict[str, Group]:
    """The groups of these ids; one that does not exist is left out."""
    return store.read(lambda db: _groups(db, ids))


def _groups(db: Connection, ids: Collection[str]) -> dict[str, Group]:
    records = db.execute(select(GroupRow.record).where(GroupRow.id.in_(set(ids)))).scalars()
    return {group.id: group for group in map(Group.model_validate_json, records)}


def categories(store: Store) -> list[str]:
    """Categories of sensitive content in the queue, in order."""
    wanted = select(ItemRow.category).where(ItemRow.category.is_not(None)).distinct()
    return store.read(lambda db: sorted(str(name) for name in db.execute(wanted).scalars()))


def exposure(store: Store, person: Person, acts: Sequence[Judgment]) -> list[Exposure]:
    """What the standing acts of a person showed him, by category, in order of the names."""
    wanted = (
        select(JudgmentRow.id, ItemRow.category)
        .join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(JudgmentRow.person == person.id, ItemRow.category.is_not(None))
    )
    category = store.read(lambda db: dict(db.execute(wanted).tuples().all()))
    found: dict[str, list[float]] = defaultdict(list)
    for act in acts:
        if act.id in category:
            found[str(category[act.id])].append(act.times.get("visible_ms", 0.0) / 1000)
    return [Exposure(name, len(seconds), sum(seconds)) for name, seconds in sorted(found.items())]


def agreement_with_others(store: Store, person: Person) -> Interval | None:
    """Share of the other people's votes that are the person's own, mean over items, with its interval over prompts.

    Over the latest 1,000 groups that he and somebody else judged; `rows` counts pairs of answers. None below the
    smallest number of prompts. Check items are left out, models and imported judgments are no other people, and who
    settles an item knows what the others said.
    """
    acts, groups = store.read(lambda db: _shared(db, person))
    return agreement(votes(acts, groups), person.rater.id)


def _shared(db: Connection, person: Person) -> tuple[list[Judgment], dict[str, Group]]:
    """Everybody's acts on the groups that this person and another one judged."""
    own, other = aliased(JudgmentRow), aliased(JudgmentRow)
    shared = (
        select(own.group)
        .join(AssignmentRow, AssignmentRow.id == own.assignment)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(own.person == person.id, own.outcome != "skip", ItemRow.kind != "write", ItemRow.gold.is_(None))
        .where(select(other.n).where(other.group == own.group, other.person != person.id).exists())
        .group_by(own.group)
        .order_by(func.max(own.n).desc())
        .limit(MOST_SHARED)
    )
    ids = list(db.execute(shared).scalars())
    rows = select(JudgmentRow.record).where(JudgmentRow.group.in_(ids), JudgmentRow.person.is_not(None))
    acts = [Judgment.model_validate_json(each) for each in db.execute(rows.order_by(JudgmentRow.n)).scalars()]
    return [act for act in acts if SETTLED not in act.reasons], _groups(db, ids)


def agreement(cast: Sequence[Vote], rater: str) -> Interval | None:
    """The same from votes: of each item that `rater` and others voted on, the share of theirs that is his."""
    own = {vote.item: vote for vote in cast if vote.rater == rater}
    same: dict[str, list[bool]] = defaultdict(list)
    for vote in cast:
        if vote.rater != rater and vote.item in own:
            same[vote.item].append(vote.value == own[vote.item].value)
    shares = [sum(each) / len(each) for each in same.values()]
    return mean_interval(shares, [own[item].unit for item in same], seed=0, resamples=500)
