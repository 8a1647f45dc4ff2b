"""What the judgments still wanted will cost in hours of raters, from the time that recent ones took."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import get_args

from sqlalchemy import Connection, func, select

from assent.feedback.mix import stands
from assent.feedback.records import Kind, Queue
from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow
from assent.feedback.store import Store
from assent.stats.bootstrap import LEVEL, Interval

FEWEST = 20
"""Timed judgments under which no working time is given."""
RECENT = 200
"""Judgments looked at, the latest: people get faster, and guidelines change."""
RESAMPLES = 500
HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """Work of one kind that is left. `seconds`: median working time of a judgment; None under 20 timed ones (`n`)."""

    kind: Kind
    left: int
    """Judgments wanted and not made yet, also those in somebody's hands."""
    n: int
    seconds: Interval | None

    def hours(self, judgments: int | None = None) -> Interval | None:
        """Rater-hours for what is left, or for so many judgments."""
        if self.seconds is None:
            return None
        share = (self.left if judgments is None else judgments) / HOUR
        low, high = self.seconds.low * share, self.seconds.high * share
        return Interval(self.seconds.estimate * share, low, high, self.n, self.n)

    def per_hour(self, rules: Queue) -> float | None:
        """Places of the queue that one rater-hour fills; gold, repeats and conflicts take their share of the hour."""
        if self.seconds is None:
            return None
        return HOUR / self.seconds.estimate * (1 - rules.gold - rules.repeat - rules.conflict)


def costs(store: Store) -> list[Cost]:
    """The cost of each kind of work that is in the queue."""
    return store.read(lambda db: [cost for kind in get_args(Kind) if (cost := _cost(db, kind)) is not None])


def total_hours(found: Sequence[Cost]) -> float | None:
    """Rater-hours for everything that is left; None where a kind with work left has too few timed judgments."""
    hours = [cost.hours() for cost in found if cost.left]
    known = [each.estimate for each in hours if each is not None]
    return sum(known) if len(known) == len(hours) else None


def _cost(db: Connection, kind: Kind) -> Cost | None:
    work = (ItemRow.part == "work", ItemRow.kind == kind)
    if db.execute(select(ItemRow.n).where(*work).limit(1)).first() is None:
        return None
    free = db.execute(select(func.coalesce(func.sum(ItemRow.overlap - ItemRow.taken), 0)).where(*work)).scalar_one()
    held = select(func.count()).join_from(AssignmentRow, ItemRow, ItemRow.n == AssignmentRow.item)
    leased = db.execute(held.where(AssignmentRow.state == "leased", AssignmentRow.holds, *work)).scalar_one()
    taken = working_times(db, kind)
    return Cost(kind, int(free) + int(leased), len(taken), median_interval(taken) if len(taken) >= FEWEST else None)


def working_times(db: Connection, kind: Kind) -> list[float]:
    """Seconds that the recent judgments of a kind took, as far as they were timed; skips are none."""
    rows = db.execute(
        select(JudgmentRow.record)
        .join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(ItemRow.kind == kind, JudgmentRow.outcome != "skip", stands())
        .order_by(JudgmentRow.n.desc())
        .limit(RECENT)
    ).scalars()
    times = [json.loads(record).get("times", {}).get("visible_ms", 0.0) for record in rows]
    return [ms / 1000 for ms in times if ms > 0]


def median_interval(values: Sequence[float]) -> Interval:
    """The median, and its percentile bootstrap interval: of these people at this work, not of others."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - LEVEL) / 2)
    return Interval(median(values), medians[cut], medians[-1 - cut], len(values), len(values))
