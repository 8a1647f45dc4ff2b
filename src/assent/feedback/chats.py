"""Blind conversations with two models: what was said, who answers, what waits for a vote.

The state is one JSON record per conversation; a vote is an item of its own, judged through `acts.submit` like any
other, so that snapshots, agreement, undo and adjudication know it. Every draw is a hash of the conversation's seed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, insert, select, update

from assent.core.hashing import content_id, hash_int
from assent.core.records import Answer, Group, Message, Prompt
from assent.feedback import acts, guidelines, queue, quiz
from assent.feedback.choice import take_place
from assent.feedback.database import lock
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.people import audit, require
from assent.feedback.records import Person, Role, Verdict, Wait
from assent.feedback.schema import AssignmentRow, ChatRow, ItemRow

Mode = Literal["ordinary", "red_team"]
RED_TEAM = "red_team"
"""Tag `polarity` on the prompts of red-team conversations, and reason on their votes; a vote names the better answer
all the same."""
MOST_TURNS = 50
MOST_CHARACTERS = 8_000
"""Longest message of a rater."""


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pending(_Shape):
    """What the rater said last. Without answers, the models are still to be asked; with them, a vote is due."""

    key: str
    text: str
    answers: tuple[Answer, ...] = ()
    shown_order: tuple[str, ...] = ()
    guideline: str | None = None


class Chat(_Shape):
    """One conversation. `models`: names of the two endpoints, which never reach the rater."""

    id: str
    seed: int
    mode: Mode
    models: tuple[str, str]
    messages: tuple[Message, ...] = ()
    turn: int = 0
    """Turns that are settled."""
    pending: Pending | None = None
    keys: tuple[str, ...] = ()
    """Client keys of what the rater said, so that nothing is said twice."""
    outcome: Literal["", "chosen", "drawn", "same"] = ""
    """How the latest turn was settled: by the vote, by the server's draw where no answer was better, or without a
    vote because both answers were the same."""
    stopped: bool = False

    @property
    def prompt(self) -> Prompt:
        """What the two models are asked now."""
        assert self.pending, "something was said"
        tags = {"origin": "chat", "polarity": self.mode}
        if self.mode == RED_TEAM:
            tags["sensitive"] = "red team"  # whoever sees it again is warned first
        return Prompt(messages=(*self.messages, Message(role="user", content=self.pending.text)), tags=tags)

    @property
    def seeds(self) -> tuple[int, int]:
        """What the two answers of this turn are sampled with; never the same."""
        first = hash_int("chat", self.seed, self.turn) % 2**30
        return first, first + 2**30


def start(db: Connection, now: float, person: Person, key: str, mode: Mode, names: Sequence[str]) -> Chat | Wait:
    """Begin a conversation with two of the endpoints `names`; the one that was open ends. Once per `key`.

    Gives Wait where something comes first, as `say` does.
    """
    lock(db, "chats", person.id)
    person = require(db, person.id, Role.rater)
    id = content_id("chat", person.id, key)
    if (known := _find(db, person, id)) is not None:
        return known
    if not names:
        raise NotFound("no models to talk to")
    if (why := _first(db, now, person, guidelines.current_version(db))) is not None:
        return why
    if (before := current(db, person)) is not None:
        _save(db, now, before.model_copy(update={"stopped": True, "pending": None}))
    seed = secrets.randbits(62)
    chat = Chat(id=id, seed=seed, mode=mode, models=_draw(seed, names))
    values = {"id": id, "person": person.id, "record": chat.model_dump_json(), "created": now, "changed": now}
    db.execute(insert(ChatRow).values(**values))
    audit(db, now, person.id, "chat", mode)
    return chat


def _draw(seed: int, names: Sequence[str]) -> tuple[str, str]:
    """Two different ones, or the only one twice."""
    first = hash_int("first", seed) % len(names)
    if len(names) == 1:
        return names[0], names[0]
    second = (first + 1 + hash_int("second", seed) % (len(names) - 1)) % len(names)
    return names[first], names[second]


def current(db: Connection, person: Person) -> Chat | None:
    """The conversation that a person has open."""
    rows = select(ChatRow.record).where(ChatRow.person == person.id).order_by(ChatRow.n.desc()).limit(1)
    record = db.execute(rows).scalar()
    chat = None if record is None else Chat.model_validate_json(record)
    return None if chat is None or chat.stopped else chat


def say(db: Connection, now: float, person: Person, id: str, key: str, text: str) -> Chat | Wait:
    """Keep what the rater says, once per `key`; the models are to be asked next, unless `pending` has answers.

    What got no answers yet is replaced. Gives Wait where the guideline must be read, the quiz passed, or the day's cap
    is reached.
    """
    chat = _open(db, person, id)
    person = require(db, person.id, Role.rater)
    if key in chat.keys:
        return chat
    if not text.strip() or len(text) > MOST_CHARACTERS:
        raise BadVerdict(f"a message has 1 to {MOST_CHARACTERS} characters")
    if chat.pending and chat.pending.answers:
        raise BadVerdict("two answers wait for a vote")
    if chat.turn >= MOST_TURNS:
        raise BadVerdict(f"a conversation has {MOST_TURNS} turns at most")
    version = guidelines.current_version(db)
    if (why := _first(db, now, person, version)) is not None:
        return why
    pending = Pending(key=key, text=text, guideline=version)
    return _save(db, now, chat.model_copy(update={"pending": pending, "keys": (*chat.keys, key)}))


def _first(db: Connection, now: float, person: Person, version: str | None) -> Wait | None:
    """Why this person may not judge now: the same reasons as in the queue."""
    if version is not None and not guidelines.has_read(db, person.id, version):
        return Wait(reason="guideline", detail=version)
    cap = person.daily_cap
    if cap is not None and queue.judged_since(db, person.id, now - now % queue.DAY) >= cap:
        return Wait(reason="cap")
    test = quiz.standing(db, person)
    return None if test is None or test.passed(queue.settings(db)) else Wait(reason="quiz")


def answer(db: Connection, now: float, person: Person, id: str, key: str, answers: tuple[Answer, Answer]) -> Chat:
    """Keep the models' answers to what was said under `key`; a second set, or one that nobody waits for, is dropped.

    Answers that are the same need no vote: the conversation goes on by itself.
    """
    chat = _open(db, person, id)
    if chat.pending is None or chat.pending.key != key or chat.pending.answers:
        return chat
    if answers[0].text.strip() == answers[1].text.strip():
        return _save(db, now, _settled(chat, answers[0], "same"))
    order = tuple(each.id for each in answers)
    if hash_int("side", chat.seed, chat.turn) % 2:
        order = order[::-1]
    pending = chat.pending.model_copy(update={"answers": answers, "shown_order": order})
    return _save(db, now, chat.model_copy(update={"pending": pending}))


def vote(
    db: Connection, now: float, person: Person, id: str, turn: int, key: str, verdict: Verdict, places: list[list[int]]
) -> Chat:
    """Keep a vote on the answers of a turn, once per `key`; the better answer enters the conversation.

    `places`: the tiers in places on the screen. Where no answer is better, one is drawn to go on with.
    """
    lock(db, "chats", person.id)
    person = require(db, person.id, Role.rater)
    chat = _find(db, person, id)
    if chat is None:
        raise NotFound("no such conversation")
    assignment = content_id("chat", chat.id, turn)
    due = chat.pending is not None and bool(chat.pending.answers) and turn == chat.turn and not chat.stopped
    if due:
        _put_in_hand(db, now, person, chat, assignment)
    given = queue.assignment(db, assignment, person)
    reasons = (*verdict.reasons, RED_TEAM) if chat.mode == RED_TEAM else verdict.reasons
    verdict = verdict.model_copy(update={"tiers": given.tiers(places), "reasons": reasons})
    kept = acts.submit(db, now, person, given, key, verdict)
    if not due:
        return chat
    answers = {each.id: each for each in given.group.answers}
    if kept.tiers and len(kept.tiers[0]) == 1:
        return _save(db, now, _settled(chat, answers[kept.tiers[0][0]], "chosen"))
    drawn = given.group.answers[hash_int("goes on", chat.seed, chat.turn) % 2]
    return _save(db, now, _settled(chat, drawn, "drawn"))


def _put_in_hand(db: Connection, now: float, person: Person, chat: Chat, assignment: str) -> None:
    """The waiting answers as an item of the queue, in this person's hands and wanted of nobody else."""
    assert chat.pending
    group = Group(prompt=chat.prompt, answers=chat.pending.answers)
    queue.add_item(db, group, "compare", 1, None, False, 0.0)
    item = db.execute(select(ItemRow.n).where(ItemRow.group == group.id, ItemRow.kind == "compare")).scalar_one()
    take_place(db, item)
    db.execute(
        insert(AssignmentRow).values(
            id=assignment,
            item=item,
            person=person.id,
            state="leased",
            holds=True,
            shown_order=json.dumps(chat.pending.shown_order),
            why="plain",
            guideline=chat.pending.guideline,
            given=now,
            expires=now + queue.LEASE_SECONDS,
        )
    )


def stop(db: Connection, now: float, person: Person, id: str) -> None:
    """End a conversation; answers without a vote are forgotten. Again is fine."""
    lock(db, "chats", person.id)
    chat = _find(db, person, id)
    if chat is None:
        raise NotFound("no such conversation")
    _save(db, now, chat.model_copy(update={"stopped": True, "pending": None}))


def _settled(chat: Chat, answer: Answer, outcome: Literal["chosen", "drawn", "same"]) -> Chat:
    messages = (*chat.prompt.messages, Message(role="assistant", content=answer.text))
    more = {"messages": messages, "turn": chat.turn + 1, "pending": None, "outcome": outcome}
    return chat.model_copy(update=more)


def _open(db: Connection, person: Person, id: str) -> Chat:
    lock(db, "chats", person.id)
    chat = _find(db, person, id)
    if chat is None or chat.stopped:
        raise NotFound("no such conversation is open")
    return chat


def _find(db: Connection, person: Person, id: str) -> Chat | None:
    if not id.isprintable():
        return None
    record = db.execute(select(ChatRow.record).where(ChatRow.id == id, ChatRow.person == person.id)).scalar()
    return None if record is None else Chat.model_validate_json(record)


def _save(db: Connection, now: float, chat: Chat) -> Chat:
    db.execute(update(ChatRow).where(ChatRow.id == chat.id).values(record=chat.model_dump_json(), changed=now))
    return chat
