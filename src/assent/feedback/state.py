"""All that was judged, read in one transaction, with a mark that changes when any of it does.

    seen = state(store)
    seen.mark == mark(store)      # nothing has happened since

The lead's figures are computed from a state and kept until the mark moves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from assent.core.hashing import content_id
from assent.core.records import Group, Judgment, Rater
from assent.feedback import attributes, guidelines, reads
from assent.feedback.records import Guideline, rater_id
from assent.feedback.schema import AssignmentRow, AuditRow, ItemRow, JudgmentRow, PersonRow
from assent.feedback.store import Store

Tiers = list[list[str]]


class Mark(NamedTuple):
    """Numbers of the last judgment and the last line of the audit log, leases that ended, and what raters told."""

    judgment: int
    audit: int
    ended: int
    told: str


@dataclass(frozen=True)
class State:
    """Groups by id (prompts to write for are left out), every act in order, who judged, and what is known."""

    mark: Mark
    groups: dict[str, Group]
    judgments: list[Judgment]
    raters: list[Rater]
    gold: dict[str, Tiers]
    """Group id -> the known tiers."""
    told: dict[str, dict[str, str]]
    """Rater id -> what he chose to say of himself. Only for `stats.slices`."""
    guidelines: list[Guideline]
    settled: frozenset[str] = frozenset()
    """Ids of acts by which a reviewer settled a dispute; he knew what others had said."""

    @cached_property
    def standing(self) -> list[Judgment]:
        """Acts that no later one supersedes and that take nothing back."""
        return reads.standing(self.judgments)

    @cached_property
    def people(self) -> set[str]:
        """Ids of raters who are people."""
        return {rater.id for rater in self.raters if rater.kind in ("human", "simulated", "unknown")}

    @cached_property
    def acts(self) -> list[Judgment]:
        """Every act of people, in order; what settled a dispute is left out."""
        return [act for act in self.by(self.people) if act.id not in self.settled]

    @cached_property
    def work(self) -> list[Judgment]:
        """The acts that are no check items: what agreement and taste are about."""
        return [act for act in self.acts if not act.is_gold and act.group not in self.gold]

    def by(self, raters: set[str]) -> list[Judgment]:
        """Every act of some raters, in order."""
        return [judgment for judgment in self.judgments if judgment.rater in raters]


def mark(store: Store) -> Mark:
    """Where the store stands now; a few quick queries."""
    return store.read(_mark)


def state(store: Store) -> State:
    """All of it, as of one moment."""
    return store.read(_state)


def _mark(db: Connection) -> Mark:
    ended = select(func.count()).where(AssignmentRow.state == "expired")
    told = select(PersonRow.id, PersonRow.attributes).where(PersonRow.attributes.is_not(None)).order_by(PersonRow.id)
    return Mark(
        judgment=db.execute(select(func.max(JudgmentRow.n))).scalar() or 0,
        audit=db.execute(select(func.max(AuditRow.n))).scalar() or 0,
        ended=db.execute(ended).scalar_one(),
        told=content_id("told", [list(row) for row in db.execute(told).all()]),
    )


def _state(db: Connection) -> State:
    known = select(ItemRow.group, ItemRow.gold).where(ItemRow.gold.is_not(None))
    settled = select(JudgmentRow.id).join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
    accounts = db.execute(select(PersonRow.id)).scalars()
    raters = {rater.id: rater for rater in reads.raters(db)}
    # Who has an account is a person, whatever a file that was read in before called him.
    raters |= {i: Rater(id=i, kind="human") for i in map(rater_id, accounts) if i in raters}
    return State(
        mark=_mark(db),
        groups={group.id: group for group in reads.groups(db)},
        judgments=reads.judgments(db),
        raters=[raters[i] for i in sorted(raters)],
        gold={row.group: json.loads(row.gold) for row in db.execute(known)},
        told=attributes.all_told(db),
        guidelines=guidelines.history(db),
        settled=frozenset(db.execute(settled.where(AssignmentRow.why == "adjudication")).scalars()),
    )
