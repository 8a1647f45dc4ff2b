"""Stores for tests: a fresh one on SQLite, a schema of its own on PostgreSQL, a clock that is set by hand.

A queue draws from the ids of people: here they are made of the names, so that a test sees the same draws each time.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from assent.core.hashing import content_id
from assent.core.records import Answer, Group, Prompt
from assent.feedback.records import Assignment, Person, Role, Verdict
from assent.feedback.store import Store

POSTGRES = "postgresql+psycopg://127.0.0.1:5432/test"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes in no time, as nothing but a test may."""
PASSWORD = "correct horse battery"


class Clock:
    """Unix time that stands still until a test moves it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def fresh_url(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database that goes away afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / secrets.token_hex(4)}.db"
        return
    name = f"assent_{secrets.token_hex(6)}"
    engine = create_engine(POSTGRES, connect_args={"connect_timeout": 60})
    try:
        with engine.begin() as db:
            db.execute(text(f"CREATE SCHEMA {name}"))
    except OperationalError as error:
        engine.dispose()
        pytest.skip(f"no PostgreSQL on 127.0.0.1:5432 with a database `test`: {str(error.orig).splitlines()[0]}")
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{name}"
    finally:
        with engine.begin() as db:
            db.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


@contextmanager
def port_for_later() -> Iterator[int]:
    """A port that a server may listen on, again and again, and that nobody else is given meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers set it: Linux lets them share it
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":
            held.close()
        yield port


def open_store(url: str, clock: Callable[[], float] | None = None) -> Store:
    """A store with cheap password hashes."""
    return Store.open(url, create=True, clock=clock or Clock(), hasher=CHEAP)


def person(store: Store, name: str, role: Role = Role.rater) -> Person:
    """An account, with the same id each time."""
    with patch.object(secrets, "token_hex", lambda size: content_id("person", name)[: 2 * size]):
        return store.accept(store.invite(role, by=None), name, PASSWORD)


def groups(n: int, answers: int = 2, **tags: object) -> list[Group]:
    """Groups of written answers."""
    made = []
    for i in range(n):
        prompt = Prompt.ask(f"question {i} of {answers}", **tags)
        made.append(Group(prompt=prompt, answers=tuple(Answer.of(prompt, f"answer {k}") for k in range(answers))))
    return made


def first_wins(item: Assignment, **more: object) -> Verdict:
    """The group's own first answer over the others, whatever order was shown."""
    order = [answer.id for answer in item.group.answers]
    return Verdict.model_validate({"tiers": tuple((a,) for a in order), **more})


def given(store: Store, who: Person, held: tuple[str, ...] = ()) -> Assignment:
    found = store.next(who, held)
    assert isinstance(found, Assignment), found
    return found


def judge(store: Store, who: Person, key: str) -> Assignment:
    item = given(store, who)
    store.submit(who, item.id, key, first_wins(item))
    return item
