"""Sampling answers for the queue: a plan, and the job that works through it in the background.

Every draw is a hash of the plan's seed and the prompt, so that ids of answers are known before anything is asked: the
same plan again passes over what is in the queue already. That is how a stopped job, or one that a restart of the
server ended, goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from assent.core.console import log
from assent.core.errors import AssentError
from assent.core.hashing import hash_int
from assent.core.records import Answer, Group, Prompt, sampled_answer_id
from assent.feedback import queue
from assent.feedback.records import Kind
from assent.feedback.store import Store
from assent.web.endpoints import Client, Endpoint

WORKERS = 4
"""Prompts that are worked on at once."""


class Draw(NamedTuple):
    """One answer to ask for."""

    endpoint: Endpoint
    temperature: float | None
    seed: int
    id: str


@dataclass(frozen=True)
class Plan:
    """What is sampled: `answers` to each prompt, from endpoints and temperatures in an order that varies by prompt."""

    prompts: tuple[Prompt, ...]
    endpoints: tuple[Endpoint, ...]
    temperatures: tuple[float, ...] = ()
    """Empty: each endpoint's own."""
    answers: int = 2
    overlap: int = 2
    seed: int = 0
    by: str | None = None

    def draws(self, prompt: Prompt) -> list[Draw]:
        """Which models answer a prompt, each with a seed of its own."""
        warmths: Sequence[float | None] = self.temperatures or (None,)
        ways = list(product(self.endpoints, warmths))
        order = sorted(range(len(ways)), key=lambda way: hash_int("way", self.seed, prompt.id, way))
        made = []
        for index in range(self.answers):
            endpoint, warmth = ways[order[index % len(ways)]]
            seed = hash_int("sample", self.seed, prompt.id, index) % 2**31
            id = sampled_answer_id(prompt, endpoint.source(warmth), seed, index)
            made.append(Draw(endpoint, warmth, seed, id))
        return made


@dataclass
class Job:
    """A plan at work. Counts are of prompts; `problems` names each that did not come into the queue, and why."""

    plan: Plan
    state: str = "running"
    """`running`, `stopped` or `done`."""
    added: int = 0
    known: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        """All prompts."""
        return len(self.plan.prompts)

    @property
    def done(self) -> int:
        """Prompts that are dealt with."""
        return self.added + self.known + len(self.problems)

    def stop(self) -> None:
        """Begin no more answers; those on their way are awaited and forgotten."""
        self._stop.set()

    def run(self, store: Store, client: Client) -> None:
        """Work until all is done or `stop` was called."""
        here: dict[str, list[set[str]]] = {}
        for group in store.groups():
            here.setdefault(group.prompt.id, []).append({answer.id for answer in group.answers})
        rest = iter(self.plan.prompts)
        # Daemons: who stops the server does not wait for a model. A prompt is in the queue whole or not at all.
        threads = [
            threading.Thread(target=self._work, args=(rest, here, store, client), daemon=True)
            for _ in range(min(WORKERS, self.total))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.audit(self.plan.by, "sampled", f"{self.added} groups added, {len(self.problems)} prompts failed")
        self.state = "done" if self.done == self.total else "stopped"

    def _work(self, rest: Iterator[Prompt], here: Mapping[str, list[set[str]]], store: Store, client: Client) -> None:
        while (prompt := self._next(rest)) is not None:
            try:
                self._one(prompt, here.get(prompt.id, []), store, client)
            except AssentError as error:
                self._fail(prompt, " ".join(filter(None, (error.where, error.what))))
            except Exception as error:  # a thread that dies in silence would leave its prompts out of the count
                log.print(f"sampling: {type(error).__name__}: {error}", markup=False, soft_wrap=True)
                self._fail(prompt, "the service failed; its log says more")

    def _next(self, rest: Iterator[Prompt]) -> Prompt | None:
        with self._lock:
            return None if self._stop.is_set() else next(rest, None)

    def _one(self, prompt: Prompt, here: list[set[str]], store: Store, client: Client) -> None:
        draws = self.plan.draws(prompt)
        if any(ids <= {draw.id for draw in draws} for ids in here):
            with self._lock:
                self.known += 1
            return
        texts: dict[str, Answer] = {}
        for index, draw in enumerate(draws):
            if self._stop.is_set():
                return
            reply = client.complete(draw.endpoint, prompt.messages, draw.seed, draw.temperature)
            source = draw.endpoint.source(draw.temperature)
            answer = Answer(
                id=draw.id, text=reply.text, finish=reply.finish, source=source, seed=draw.seed, index=index
            )
            texts.setdefault(reply.text.strip(), answer)
        if self._stop.is_set():
            return
        if len(texts) < 2:
            self._fail(prompt, f"all {len(draws)} answers are the same")
            return
        self._add(Group(prompt=prompt, answers=tuple(texts.values())), store)

    def _add(self, group: Group, store: Store) -> None:
        kind: Kind = "compare" if len(group.answers) == 2 else "rank"
        store.write(lambda db, _: queue.add_item(db, group, kind, self.plan.overlap, None, False, 0.0))
        with self._lock:
            self.added += 1

    def _fail(self, prompt: Prompt, why: str) -> None:
        with self._lock:
            self.problems.append((prompt.text, why))


class Sampling:
    """The one job of a server: running, or the latest."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, plan: Plan, store: Store, client: Client) -> bool:
        """Begin; False where another job runs."""
        with self._lock:
            if self.job is not None and self.job.state == "running":
                return False
            self.job = job = Job(plan)
            self.thread = threading.Thread(target=_guarded, args=(job, store, client), daemon=True)
            self.thread.start()
        return True


def _guarded(job: Job, store: Store, client: Client) -> None:
    try:
        job.run(store, client)
    finally:
        if job.state == "running":
            job.state = "stopped"
