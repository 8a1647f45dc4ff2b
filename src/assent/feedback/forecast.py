"""When will the queue be finished, at the pace of the last seven days?"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from assent.feedback.queue import DAY
from assent.feedback.reads import progress
from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

DAYS = 7
LEAST_JUDGMENTS, LEAST_DAYS = 50, 3
"""Under so many judgments, or on fewer days (UTC), the pace says nothing about next week."""


@dataclass(frozen=True)
class Forecast:
    """Judgments of the queue's work that are left, made in the last week, and when the work ends at that pace."""

    left: int
    made: int
    days: int
    """Days (UTC) of the last week on which somebody judged."""
    a_day: float | None
    """Pace in judgments a day, days without work included; None: not enough data."""
    finished: float | None
    """Unix seconds at which nothing is left; None without a pace or with nothing left."""

    @property
    def enough(self) -> bool:
        """Whether there is a pace to go by."""
        return self.a_day is not None


def forecast(store: Store, now: float) -> Forecast:
    """The forecast as of `now`, Unix seconds.

    Checks, repeats and settled disputes fill no place of the queue and do not count. The pace is over the last week,
    or since the first judgment where work began later.
    """
    since = now - DAYS * DAY
    moments, counts = store.read(lambda db: (_moments(db), progress(db)))
    recent = [at for at in moments if since < at <= now]
    days, left = len({at // DAY for at in recent}), counts.places - counts.judged
    if len(recent) < LEAST_JUDGMENTS or days < LEAST_DAYS:
        return Forecast(left, len(recent), days, None, None)
    a_day = len(recent) * DAY / (now - max(since, min(moments)))
    return Forecast(left, len(recent), days, a_day, now + left / a_day * DAY if left > 0 else None)


def _moments(db: Connection) -> list[float]:
    """When each judged place of the queue was filled, by the judgment that stands."""
    replaced = select(JudgmentRow.supersedes).where(JudgmentRow.supersedes.is_not(None))
    filled = (
        select(JudgmentRow.at)
        .join(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(AssignmentRow.holds, AssignmentRow.state == "done", ItemRow.part == "work")
        .where(JudgmentRow.outcome != "skip", JudgmentRow.id.not_in(replaced))
    )
    return list(db.execute(filled).scalars())
