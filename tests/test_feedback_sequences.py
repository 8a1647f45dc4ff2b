"""Any sequence of next, submit, skip, undo, ended leases and restarts leaves a store in order."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from assent.core.records import Judgment
from assent.feedback.errors import AlreadyAnswered, FeedbackError, LeaseExpired
from assent.feedback.reads import standing
from assent.feedback.records import Assignment, Queue, Verdict
from assent.feedback.store import Store
from feedback_store import Clock, first_wins, fresh_url, groups, open_store, person

STEPS = st.tuples(st.integers(0, 2), st.sampled_from(["next", "submit", "skip", "undo", "again", "late", "restart"]))


class Session:
    """Three raters, four items wanted twice, one gold; what was acknowledged, and what each has in hand."""

    def __init__(self, url: str) -> None:
        self.url, self.clock = url, Clock()
        self.store = open_store(url, self.clock)
        self.store.set_queue(Queue(gold=0.2, control=0.3))
        self.store.add_groups(groups(4), "compare", overlap=2)
        gold = groups(1, answers=3)
        self.store.add_groups(gold, "rank", gold={g.id: [[a.id] for a in g.answers] for g in gold})
        self.raters = [person(self.store, f"Rater {k}") for k in range(3)]
        self.hands: dict[int, list[Assignment]] = {k: [] for k in range(3)}
        self.sent: list[tuple[int, Assignment, str, Verdict]] = []
        self.kept: list[Judgment] = []

    def step(self, k: int, what: str) -> None:
        """One thing that happens; refusals are allowed where the store promises them."""
        who = self.raters[k]
        if what == "restart":
            self.store.close()
            self.store = open_store(self.url, self.clock)
        elif what == "late":
            self.clock.now += 16 * 60
        elif what == "undo":
            try:
                self.kept.append(self.store.undo(who, f"u{len(self.kept)}"))
            except FeedbackError:
                return
        elif what == "again" and self.sent:
            k, item, key, verdict = self.sent[-1]
            assert self.store.submit(self.raters[k], item.id, key, verdict) in self.kept
        elif what == "next":
            item = self.store.next(who)
            if isinstance(item, Assignment):
                self.hands[k].append(item)
        elif self.hands[k]:
            self.submit(k, self.hands[k].pop(0), what == "skip")

    def submit(self, k: int, item: Assignment, skip: bool) -> None:
        """Send a verdict, on time or late."""
        verdict = Verdict(outcome="skip") if skip else first_wins(item)
        key = f"k{len(self.kept)}-{len(self.sent)}"
        try:
            self.kept.append(self.store.submit(self.raters[k], item.id, key, verdict))
            self.sent.append((k, item, key, verdict))
        except (AlreadyAnswered, LeaseExpired):
            return


def check(session: Session) -> None:
    """What must hold at any time."""
    store: Store = session.store
    acts = store.judgments()
    assert acts == session.kept  # each acknowledged act once, in order, unchanged; nothing else
    stand = standing(acts)
    assert max(Counter((act.group, act.rater) for act in stand).values(), default=0) <= 1
    judged = Counter(act.group for act in stand if act.outcome != "skip" and not act.is_gold)
    assert max(judged.values(), default=0) <= 2
    with store._engine.connect() as db:
        rows: Any = db.execute(
            text(
                "SELECT taken, overlap, part, (SELECT count(*) FROM assignments a WHERE a.item = items.n AND a.holds), "
                "(SELECT count(*) FROM assignments a WHERE a.item = items.n AND a.holds AND state = 'done') FROM items"
            )
        ).all()
    for taken, overlap, part, holding, done in rows:
        assert taken == holding and done <= taken <= overlap and (part == "work") == (overlap == 2)
    assert sum(row[4] for row in rows) == sum(judged.values()) == store.progress().judged


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.lists(STEPS, min_size=5, max_size=30))
@example([(0, "next"), (0, "submit"), (0, "undo"), (0, "late"), (1, "next"), (2, "next"), (0, "next"), (0, "submit")])
@example([(0, "next"), (0, "skip"), (1, "next"), (1, "submit"), (2, "next"), (2, "submit"), (0, "undo"), (0, "undo")])
def test_any_sequence_leaves_the_store_in_order(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, fresh_url("sqlite", Path(folder)) as url:
        run(url, steps)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(STEPS, min_size=20, max_size=40))
def test_any_sequence_on_postgresql_too(steps: list[tuple[int, str]]) -> None:
    with fresh_url("postgresql", Path()) as url:
        run(url, steps)


def run(url: str, steps: list[tuple[int, str]]) -> None:
    """All steps, checked after each fifth and at the end."""
    session = Session(url)
    try:
        for n, (k, what) in enumerate(steps):
            session.step(k, what)
            if n % 5 == 4:
                check(session)
        check(session)
    finally:
        session.store.close()
