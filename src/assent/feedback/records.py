"""What the store hands out and takes in. Immutable; answers are named by id, never by side."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from assent.core.hashing import content_id
from assent.core.records import Group, Judgment, Rater

Kind = Literal["compare", "rank", "write"]
Why = Literal["plain", "control", "conflict", "gold", "repeat", "quiz", "adjudication"]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
UNDONE = "undone"
"""Reason on the act that takes a judgment back."""


class Role(enum.StrEnum):
    """What a person may do; each role may do what the ones before it may."""

    rater = "rater"
    reviewer = "reviewer"
    lead = "lead"

    def covers(self, other: Role) -> bool:
        """Whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Person(_Shape):
    """Somebody with an account. Names never leave the store with the data: `rater` has an id only."""

    id: str
    name: str
    role: Role
    active: bool = True
    opted_out: tuple[str, ...] = ()
    """Categories this person will not be shown."""
    daily_cap: int | None = None
    """Most items a day (UTC), None for no cap."""

    @property
    def rater(self) -> Rater:
        """The person as exports name him."""
        return Rater(id=rater_id(self.id), kind="human")


def rater_id(person: str) -> str:
    """Id under which a person's judgments are exported."""
    return "human-" + content_id("rater", person, length=12)


class Guideline(_Shape):
    """One version of the rules. `version`: the first 12 hex digits of the text's SHA-256, as `assent` stamps files."""

    version: str
    name: str
    text: str
    added: float
    """Unix time in seconds."""


class Assignment(_Shape):
    """An item in a rater's hands. The client needs `id` only; it should see answers by place, not by their ids."""

    id: str
    kind: Kind
    group: Group
    shown_order: tuple[str, ...]
    """Answer ids in the order to show; empty for `write`. Random and blind, drawn once per assignment."""
    guideline: str | None
    """Version of the guideline the judgment will be stamped with."""
    expires: float
    """Unix time in seconds, after which another rater may get the place."""
    why: Why = "plain"
    """Why the queue chose it. Not to be shown to the rater: a gold item that is known for one measures nothing."""
    category: str | None = None
    """Category of sensitive content, None where there is none: blur first, name it."""

    def tiers(self, places: Sequence[Sequence[int]]) -> tuple[tuple[str, ...], ...]:
        """Tiers of answer ids from tiers of places on the screen (0 = first shown): `[[1], [0]]`, `[[0, 1]]`."""
        try:
            if any(place < 0 for tier in places for place in tier):
                raise IndexError
            return tuple(tuple(self.shown_order[place] for place in tier) for tier in places)
        except IndexError:
            from assent.feedback.errors import BadVerdict

            raise BadVerdict(f"places run from 0 to {len(self.shown_order) - 1}") from None


class Wait(_Shape):
    """Why there is nothing to judge now.

    `guideline`: the current one must be read first (`read_guideline`); `quiz`: the quiz was not passed, a lead
    decides; `cap`: the day's cap is reached; `nothing`: no item is left for this person.
    """

    reason: Literal["guideline", "quiz", "cap", "nothing"]
    detail: str = ""


class Verdict(_Shape):
    """What a rater decided. `tiers`: answer ids, best first, ties share a tier (`Assignment.tiers` makes them)."""

    outcome: Literal["ranked", "both_bad", "skip"] = "ranked"
    tiers: tuple[tuple[str, ...], ...] = ()
    """Every answer once with `ranked` (not needed for `write`), else empty."""
    strength: int | None = Field(default=None, ge=0, le=3)
    """0 (a tie) to 3 (much better); None where it was not asked."""
    reasons: tuple[str, ...] = ()
    """Short codes; of a skip, why."""
    note: str = ""
    ideal: str | None = None
    """The answer as it should have been; with `write`, the answer."""
    times: dict[str, float] = Field(default_factory=dict)
    """Unix seconds at the client: `shown`, `first_input`, `submitted`."""
    visible_ms: float | None = Field(default=None, ge=0)
    """How long the item was in a visible tab, milliseconds."""


class Queue(_Shape):
    """How the next item is chosen. Shares are of all items handed out; what a share cannot find falls to plain."""

    gold: Share = 0.05
    """Items with a known verdict."""
    repeat: Share = 0.04
    """Items the same rater judged before, to measure his consistency."""
    control: Share = 0.2
    """Items drawn at random instead of by priority, so that there is always an unbiased sample."""
    conflict: Share = 0.0
    """Items whose votes oppose each other, asked once more of somebody new: judgments beyond the planned ones."""
    quiz_pass: Share = 0.8
    """Share of the quiz items that must be right."""
    seed: int = 0

    @model_validator(mode="after")
    def _shares_fit(self) -> Queue:
        if self.gold + self.repeat + self.control + self.conflict > 1 + 1e-9:
            raise ValueError("gold, repeat, control and conflict together are more than 1")
        return self


class Progress(_Shape):
    """Where the project stands. Gold and quiz items count apart: they are asked of everybody."""

    items: int
    places: int
    """Judgments wanted: items times overlap."""
    judged: int
    """Places that are judged."""
    leased: int
    """Places in somebody's hands now."""
    done: int
    """Items with all their places judged."""
    skipped: int
    """Skips; each gave its place back."""
    gold: int
    """Gold and quiz items."""


class Work(_Shape):
    """What one person did. Counts are of acts that stand: neither superseded nor undone."""

    judged: int
    skipped: int
    today: int
    """Judged today (UTC)."""
    seconds: float
    """Working time: the sum of `visible_ms`."""
    gold_right: int
    gold_total: int
    repeats_same: int
    repeats_total: int
    exposure: dict[str, int]
    """Items seen, by category of sensitive content."""
    judgments: tuple[Judgment, ...]
    """The latest first."""


class AuditEntry(_Shape):
    """One line of the audit log."""

    n: int
    at: float
    actor: str | None
    action: str
    what: str
