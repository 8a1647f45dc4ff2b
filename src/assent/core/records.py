"""The one data shape, from the rating screen to the gradient: a prompt with several answers.

Ids are derived from content, never random. Every record carries `format: 1`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from assent.core.hashing import content_id

TEXT: Literal["text"] = "text"
"""Role of the single message of a plain (not conversational) prompt."""


class Record(BaseModel):
    """Base of all records: immutable, closed, versioned."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1


class Message(BaseModel):
    """One turn. Role `text` marks plain text that no chat template may wrap."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: Literal["system", "user", "assistant", "text"]
    content: str


class Prompt(Record):
    """What is asked. `tags` are free columns: they reach reward functions, audits and slices.

    `tags["subject"]`, where present, is the unit of the held-out split and of the bootstrap, so that
    two prompts about one thing never stand on both sides.
    """

    id: str = ""
    messages: tuple[Message, ...] = Field(min_length=1)
    tags: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _derive_id(self) -> Prompt:
        if not self.id:
            turns = [[message.role, message.content] for message in self.messages]
            object.__setattr__(self, "id", content_id("prompt", turns))
        return self

    @classmethod
    def of(cls, text: str, **tags: Any) -> Prompt:
        """A plain-text prompt."""
        return cls(messages=(Message(role=TEXT, content=text),), tags=tags)

    @classmethod
    def ask(cls, text: str, system: str | None = None, **tags: Any) -> Prompt:
        """A conversational prompt of one user turn."""
        head = (Message(role="system", content=system),) if system else ()
        return cls(messages=(*head, Message(role="user", content=text)), tags=tags)

    @property
    def plain(self) -> bool:
        """Whether this is plain text rather than a conversation."""
        return self.messages[0].role == TEXT

    @property
    def subject(self) -> str:
        """Unit of the held-out split and of the bootstrap.

        Where no tag names it, the first question of the conversation, so that one dialogue continued in two
        ways, or cut at two depths, never stands on both sides.
        """
        if "subject" in self.tags:
            return str(self.tags["subject"])
        first = next((m for m in self.messages if m.role in ("user", TEXT)), self.messages[0])
        return content_id("prompt", [[first.role, first.content]])

    @property
    def text(self) -> str:
        """The last turn's text, for people to read."""
        return self.messages[-1].content


class Answer(Record):
    """One answer to a prompt. Sampled ids are kept exactly as sampled, never encoded again."""

    id: str
    text: str
    token_ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    finish: Literal["stop", "length"] = "stop"
    source: str = "unknown"
    seed: int = 0
    index: int = 0
    parent: str | None = None

    @classmethod
    def of(cls, prompt: Prompt, text: str, source: str = "unknown", index: int = 0, **rest: Any) -> Answer:
        """A written (not sampled) answer, its id derived from prompt, source, text and index."""
        return cls(
            id=content_id("answer", prompt.id, source, text, index), text=text, source=source, index=index, **rest
        )


def sampled_answer_id(prompt: Prompt, source: str, seed: int, index: int) -> str:
    """Id of a sampled answer: from (prompt, source, seed, index), since samples often repeat a text."""
    return content_id("answer", prompt.id, source, seed, index)


class Group(Record):
    """A prompt with K >= 1 answers."""

    id: str = ""
    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Group:
        ids = [answer.id for answer in self.answers]
        repeated = [i for i, n in Counter(ids).items() if n > 1]
        if repeated:
            raise ValueError(f"answer id {repeated[0]} stands twice in the group")
        if not self.id:
            object.__setattr__(self, "id", content_id("group", self.prompt.id, ids))
        return self


class Rater(Record):
    """Who judged."""

    id: str
    kind: Literal["human", "model", "rule", "simulated", "unknown"] = "unknown"
    attributes: dict[str, Any] = Field(default_factory=dict)


class Judgment(Record):
    """One immutable act of judging a group. `tiers` are answer ids, best first, ties share a tier."""

    id: str
    group: str
    rater: str
    outcome: Literal["ranked", "both_bad", "skip"] = "ranked"
    tiers: tuple[tuple[str, ...], ...] = ()
    strength: int | None = Field(default=None, ge=0, le=3)
    probs: dict[str, float] | None = None
    scores: dict[str, float] | None = None
    reasons: tuple[str, ...] = ()
    note: str = ""
    ideal: str | None = None
    shown_order: tuple[str, ...] = ()
    guideline: str | None = None
    principle: str | None = None
    times: dict[str, float] = Field(default_factory=dict)
    is_gold: bool = False
    is_repeat: bool = False
    supersedes: str | None = None
    cost: float | None = None


class Demonstration(Record):
    """An answer to imitate."""

    prompt: Prompt
    answer: Answer
    author: str = "unknown"


def check_tiers(judgment: Judgment, group: Group) -> str | None:
    """Why the tiers of a ranked judgment do not fit its group, or None when they do."""
    if judgment.outcome != "ranked":
        return None
    known = {answer.id for answer in group.answers}
    placed = [answer for tier in judgment.tiers for answer in tier]
    repeated = [i for i, n in Counter(placed).items() if n > 1]
    if repeated:
        return f"answer {repeated[0]} is placed twice"
    if invented := sorted(set(placed) - known):
        return f"answer {invented[0]} is not in group {group.id}"
    if missed := sorted(known - set(placed)):
        return f"answer {missed[0]} of group {group.id} is not placed"
    return None


def preference_pairs(judgment: Judgment, group: Group) -> list[tuple[int, int]]:
    """(better, worse) index pairs of a ranked judgment. Ties and identical texts make no pair."""
    place = {answer.id: i for i, answer in enumerate(group.answers)}
    tiers = [[place[a] for a in tier] for tier in judgment.tiers]
    return [
        (better, worse)
        for high in range(len(tiers))
        for low in range(high + 1, len(tiers))
        for better in tiers[high]
        for worse in tiers[low]
        if group.answers[better].text != group.answers[worse].text
    ]
