"""Raters at work: `python -m benchmarks.rating_load --db sqlite|postgresql --raters 200 --seconds 300 --think 5 15`.

Starts `assent serve` on a fresh store and a free port of 127.0.0.1, and lets so many raters work at once, each as the
rating screen does: items are prefetched, an answer is sent after a time to think, some are skipped, taken back or sent
twice. Afterwards the store is checked: every answer that the server took is there once, no item was judged by more
raters than wanted. Server and raters share the machine, so the times include the raters' own waiting for a processor.

Exit code: 0 fine, 1 a check failed or a p99 was 150 ms or more, 2 cannot be run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from assent.core.records import Answer, Group, Prompt
from assent.feedback.records import Queue, Role
from assent.feedback.store import Store
from benchmarks.rating_check import faults

POSTGRES = "postgresql+psycopg://127.0.0.1:5432/test"
LIMIT = 0.150
"""Seconds that the 99th percentile of `next` and `submit` must stay under."""
AHEAD = 4
"""Items that the screen keeps ready behind the one shown."""
SKIPPED, TAKEN_BACK, TWICE = 0.03, 0.02, 0.02
TRIES = 600
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Signing in is not what is measured here."""
PASSWORD = "a long password"


@dataclass
class Heard:
    """What the raters saw: seconds by kind of request, answers taken by (name, client key), and what went otherwise."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"next": [], "submit": [], "undo": []})
    taken: set[tuple[str, str]] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)


class Rater:
    """One person at the rating screen."""

    def __init__(self, http: httpx.AsyncClient, name: str, session: str, heard: Heard, think: Sequence[float]) -> None:
        self.http, self.name, self.heard, self.think = http, name, heard, think
        self.headers = {"cookie": f"assent_session={session}"}
        self.draw = random.Random(name)
        self.hand: list[str] = []

    async def work(self, until: float) -> None:
        """Judge until the time is over; people do not come all at the same second."""
        await asyncio.sleep(self.draw.uniform(0, self.think[1]))
        page = await self.http.get("/rate", headers=self.headers)
        found = re.search(r'<meta name="csrf" content="([0-9a-f]{64})">', page.text)
        if found is None:
            self.heard.errors[f"GET /rate: {page.status_code}"] += 1
            return
        self.headers["x-csrf-token"] = found[1]
        while time.monotonic() < until and await self._fill():
            await asyncio.sleep(self.draw.uniform(*self.think))
            await self._answer()

    async def _fill(self) -> bool:
        """Ask for items until the hand is full; whether there is one to judge."""
        while len(self.hand) <= AHEAD:
            body = await self._post("next", held=self.hand)
            if body is None or body["item"] is None:
                self.heard.waits[body["wait"] if body else "error"] += 1
                break
            if body["item"]["id"] in self.hand:
                self.heard.errors["an item was handed out twice"] += 1
                break
            self.hand.append(body["item"]["id"])
        return bool(self.hand)

    async def _answer(self) -> None:
        skip = self.draw.random() < SKIPPED
        first = self.draw.randrange(2)
        ranked = {"outcome": "ranked", "tiers": [[first], [1 - first]], "strength": 2, "visible_ms": 9000.0}
        verdict = {"outcome": "skip", "reasons": ["skip:unsure"]} if skip else ranked
        key, given = secrets.token_hex(8), {"assignment": self.hand.pop(0), "verdict": verdict}
        for _ in range(2 if self.draw.random() < TWICE else 1):
            if await self._post("submit", key=key, **given) is not None:
                self.heard.taken.add((self.name, key))
        if self.draw.random() < TAKEN_BACK:
            key = secrets.token_hex(8)
            body = await self._post("undo", key=key, held=self.hand)
            if body is not None:
                self.heard.taken.add((self.name, key))
            if body and body["item"]:
                self.hand.insert(0, body["item"]["id"])

    async def _post(self, what: str, **body: Any) -> dict[str, Any] | None:
        """One request, timed; None where it was not answered with 200."""
        start = time.perf_counter()
        for left in (2, 1, 0):
            try:
                response = await self.http.post(f"/api/{what}", json=body, headers=self.headers)
                break
            except httpx.HTTPError as error:  # an idle connection that was closed meanwhile: sent again, as screens do
                self.heard.again[f"{what}: {type(error).__name__}"] += 1
                if not left:
                    self.heard.errors[f"{what}: {type(error).__name__}"] += 1
                    return None
        self.heard.seconds[what].append(time.perf_counter() - start)
        if what == "undo" and response.status_code in (400, 403):
            return None  # a check item, or one that somebody else has by now: it cannot be taken back
        if response.status_code != 200:
            self.heard.errors[f"{what}: {response.status_code} {response.text[:100]}"] += 1
            return None
        found: dict[str, Any] = response.json()
        return found


@contextmanager
def fresh(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database, in PostgreSQL a schema of its own; it goes away afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'feedback.db'}"
        return
    name = f"assent_load_{secrets.token_hex(4)}"
    engine = create_engine(POSTGRES, connect_args={"connect_timeout": 3})
    with engine.begin() as db:
        db.execute(text(f"CREATE SCHEMA {name}"))
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{name}"
    finally:
        with engine.begin() as db:
            db.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


def fill(url: str, raters: int, items: int) -> dict[str, str]:
    """A project with people and work; name -> session."""
    with Store.open(url, create=True, hasher=CHEAP) as store:
        store.set_queue(Queue(gold=0.05, repeat=0.04, control=0.2))
        made = [_group(i) for i in range(items)]
        store.add_groups(made[20:], "compare", overlap=2)
        gold = {group.id: [[answer.id] for answer in group.answers] for group in made[:20]}
        store.add_groups(made[:20], "compare", gold=gold)
        version = store.add_guideline("Prefer the answer that is right, then the one that is kind.\n", "rules")
        sessions = {}
        for i in range(raters):
            person = store.accept(store.invite(Role.rater, by=None), f"Rater {i}", PASSWORD)
            store.read_guideline(person, version)
            sessions[person.name] = store.sign_in(person.name, PASSWORD)
    return sessions


def _group(i: int) -> Group:
    prompt = Prompt.ask(f"Question {i}. " + "What would you do, and what would you tell a friend? " * 8)
    points = "\n".join(f"- point {k}: do *this* first, then `that`, since it is **safer**" for k in range(12))
    texts = [f"Answer {k} to question {i}.\n\n{points}\n\n" + "And then it is done. " * 30 for k in range(2)]
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, said) for said in texts))


@contextmanager
def serving(url: str, folder: Path) -> Iterator[str]:
    """`assent serve` as people run it; its address. What it says goes to a file that is shown when it does not come."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "assent", "serve", "--db", url, "--port", str(port)]
    log = folder / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--exports", str(folder / "exports")], stdout=file, stderr=file)
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(TRIES):
        try:
            if httpx.get(f"{address}/healthz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
        if process.poll() is not None:
            break
    raise SystemExit(f"rating_load: the server did not start:\n{log.read_text()}")


async def load(address: str, sessions: dict[str, str], seconds: float, think: Sequence[float]) -> Heard:
    """Let everybody work."""
    heard, until = Heard(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=len(sessions), max_keepalive_connections=len(sessions))
    headers = {"origin": address}
    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=30) as http:
        await asyncio.gather(*(Rater(http, name, s, heard, think).work(until) for name, s in sessions.items()))
    return heard


def report(heard: Heard) -> list[str]:
    """Print the times; what is wrong with them."""
    wrong = [f"{count} times {error}" for error, count in heard.errors.items()]
    for what, seconds in heard.seconds.items():
        ordered = sorted(seconds)
        if not ordered:
            continue
        at = {p: ordered[min(len(ordered) - 1, int(p / 100 * len(ordered)))] for p in (50, 95, 99)}
        figures = "  ".join(f"p{p} {1000 * s:.0f} ms" for p, s in at.items())
        print(f"{what}: {figures}  max {1000 * ordered[-1]:.0f} ms  n {len(ordered)}", flush=True)
        if what != "undo" and at[99] >= LIMIT:
            wrong.append(f"p99 of {what} is {1000 * at[99]:.0f} ms; at most {1000 * LIMIT:.0f} ms are allowed")
    print(f"waits: {dict(heard.waits)}  sent again: {dict(heard.again)}  answers taken: {len(heard.taken)}", flush=True)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code, as above."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rating_load", description="Raters at work, at once.")
    parser.add_argument("--db", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300, help="how long they work")
    parser.add_argument("--think", type=float, nargs=2, default=(5, 15), metavar=("FROM", "TO"), help="seconds an item")
    parser.add_argument("--reduced", action="store_true", help="40 raters for 20 s who think for 1 to 3 s")
    given = parser.parse_args(arguments)
    raters, seconds, think = (40, 20.0, (1, 3)) if given.reduced else (given.raters, given.seconds, given.think)
    if not (0 < raters <= 1000 and 0 < seconds <= 3600 and 0 < think[0] <= think[1]):
        parser.error("1 to 1000 raters, up to 3600 seconds, and a time to think above 0")
    items = 20 + int(raters * (1.5 * seconds / sum(think) + AHEAD + 1))
    with tempfile.TemporaryDirectory() as name:
        try:
            with fresh(given.db, Path(name)) as url:
                sessions = fill(url, raters, items)
                with serving(url, Path(name)) as address:
                    heard = asyncio.run(load(address, sessions, seconds, think))
                wrong = report(heard) + faults(url, heard.taken)
        except SQLAlchemyError as error:
            print(f"rating_load: {given.db}: {str(error).splitlines()[0]}", file=sys.stderr)
            return 2
    for fault in wrong:
        print(f"FAULT: {fault}", flush=True)
    print("failed" if wrong else "every check passed", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
