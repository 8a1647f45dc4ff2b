"""What the store refuses, each with a type of its own, so that a screen can say it in its words.

FeedbackError          anything below
|- NotAllowed          the person's role, or an invite, link or password that does not open
|- Throttled           too many failed sign-ins; `wait` seconds remain
|- NotFound            no such assignment, group, guideline (or it is somebody else's: no difference is shown)
|- LeaseExpired        the lease ended and another rater has the place now; the answer cannot be kept
|- AlreadyAnswered     the assignment was answered under another client key (another tab); `judgment` is that one
|- BadVerdict          a verdict that does not fit its group
`- Unavailable         the database is gone, locked, or its disk is full; the same may work later
"""

from __future__ import annotations

from assent.core.errors import AssentError
from assent.core.records import Judgment


class FeedbackError(AssentError):
    """Something that the store refuses."""


class NotAllowed(FeedbackError):
    """Not with this role, or not with this invite, link or password."""


class Throttled(NotAllowed):
    """Too many failed sign-ins. `wait`: seconds until the next try."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"too many failed sign-ins; wait {max(1, round(wait / 60))} min")


class NotFound(FeedbackError):
    """No such thing, or not this person's."""


class LeaseExpired(FeedbackError):
    """The lease ended and the place was given away."""


class AlreadyAnswered(FeedbackError):
    """Answered before under another client key. `judgment`: what was kept."""

    def __init__(self, judgment: Judgment) -> None:
        self.judgment = judgment
        super().__init__("this item was answered already, in another tab or on another device")


class BadVerdict(FeedbackError):
    """The verdict does not fit its group."""


class Unavailable(FeedbackError):
    """The database does not answer or cannot be written. `why`: what its driver said."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "the database does not answer or cannot be written; what was saved is safe, try again in a moment",
            where=why,
            fix="check that it runs, and that its disk has room",
        )
