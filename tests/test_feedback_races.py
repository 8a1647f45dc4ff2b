"""Many at once: real threads on real connections. Whatever the order, the outcome is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from assent.core.records import Judgment
from assent.feedback import database
from assent.feedback.errors import AlreadyAnswered, LeaseExpired
from assent.feedback.reads import standing
from assent.feedback.records import Assignment, Queue, Wait
from assent.feedback.store import Store
from feedback_store import Clock, first_wins, groups, open_store, person

HERE = Path(__file__).parent


def at_once(*works: Callable[[], object]) -> list[object]:
    """What each returned or raised, all started together."""
    ready = threading.Barrier(len(works))
    outcomes: list[object] = [None] * len(works)

    def run(k: int) -> None:
        ready.wait()
        try:
            outcomes[k] = works[k]()
        except Exception as error:
            outcomes[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_raters_who_race_for_the_last_place(store: Store) -> None:
    """Eight raters, one item wanted three times, three rounds: three get it each time."""
    store.set_queue(Queue(repeat=0, control=0))
    raters = [person(store, f"Rater {k}") for k in range(8)]
    for made in groups(3):
        store.add_groups([made], "compare", overlap=3)
        got = at_once(*(lambda who=who: store.next(who) for who in raters))
        won = [(who, item) for who, item in zip(raters, got, strict=True) if isinstance(item, Assignment)]
        assert len(won) == 3 and got.count(Wait(reason="nothing")) == 5, got
        for who, item in won:
            store.submit(who, item.id, item.id[:20], first_wins(item))


def test_a_whole_shift_at_once_judges_every_place_once(store: Store) -> None:
    """Six raters at work on 12 items wanted twice, half of them drawn at random, until nothing is left."""
    store.set_queue(Queue(repeat=0, control=0.5))
    store.add_groups(groups(12), "compare", overlap=2)
    raters = [person(store, f"Rater {k}") for k in range(6)]

    def shift(k: int) -> int:
        done = 0
        while isinstance(item := store.next(raters[k]), Assignment):
            store.submit(raters[k], item.id, f"k{done}", first_wins(item))
            done += 1
        return done

    counts = at_once(*(lambda k=k: shift(k) for k in range(6)))
    assert sum(counts) == 24, counts  # type: ignore[arg-type]
    acts = store.judgments()
    assert set(Counter(act.group for act in acts).values()) == {2}
    assert len({(act.group, act.rater) for act in acts}) == 24 and store.progress().judged == 24


def test_a_double_click_makes_one_row(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(5), "compare")
    for k in range(5):
        item = store.next(ada)
        assert isinstance(item, Assignment)
        got = at_once(*(lambda: store.submit(ada, item.id, f"k{k}", first_wins(item)) for _ in range(4)))  # noqa: B023
        assert got == [got[0]] * 4 and isinstance(got[0], Judgment), got
    assert len(store.judgments()) == 5


def test_two_tabs_at_once_keep_one_answer(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(1), "compare")
    item = store.next(ada)
    assert isinstance(item, Assignment)
    got = at_once(*(lambda k=k: store.submit(ada, item.id, f"tab{k}", first_wins(item)) for k in range(4)))
    kept = store.judgments()
    assert len(kept) == 1 and got.count(kept[0]) == 1
    assert [type(g) for g in got].count(AlreadyAnswered) == 3


def test_a_double_undo_with_a_key_takes_one_back(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(3), "compare")
    for k in range(3):
        item = store.next(ada)
        assert isinstance(item, Assignment)
        store.submit(ada, item.id, f"k{k}", first_wins(item))
    got = at_once(*(lambda: store.undo(ada, "u") for _ in range(4)))
    assert got == [got[0]] * 4 and len(standing(store.judgments())) == 2


def test_late_answers_race_for_a_freed_place(store: Store, clock: Clock) -> None:
    """Two leases ended, a third rater sits on one of the two places; two late answers come at once: one is kept."""
    raters = [person(store, f"Rater {k}") for k in range(3)]
    store.add_groups(groups(1), "compare", overlap=2)
    items = [store.next(who) for who in raters[:2]]
    clock.now += 3600
    assert isinstance(store.next(raters[2]), Assignment)
    works = [
        lambda who=who, item=item: store.submit(who, item.id, "k", first_wins(item))
        for who, item in zip(raters, items, strict=False)
    ]
    got = at_once(*works)
    assert sorted(type(g).__name__ for g in got) == ["Judgment", "LeaseExpired"], got
    assert any(isinstance(g, LeaseExpired) for g in got) and len(store.judgments()) == 1


def test_ended_leases_are_taken_back_once(store: Store, clock: Clock) -> None:
    """Were a place given back twice, the table's check would refuse it or a third rater would get in."""
    raters = [person(store, f"Rater {k}") for k in range(6)]
    store.add_groups(groups(3), "compare", overlap=1)
    for who in raters[:3]:
        assert isinstance(store.next(who), Assignment)
    clock.now += 3600
    got = at_once(*(lambda who=who: store.next(who) for who in raters))
    assert sum(isinstance(item, Assignment) for item in got) == 3, got
    assert store.progress().leased == 3


def test_stores_opened_at_once_make_the_tables_once(url: str) -> None:
    def items() -> int:
        with open_store(url) as store:
            return store.progress().items

    got = at_once(items, items, items)
    assert got == [0, 0, 0], got


SUBMITS = """
import itertools
import sys
from assent.feedback.records import Queue
from feedback_store import first_wins, groups, open_store, person
store = open_store(sys.argv[1])
store.set_queue(Queue(repeat=0))
who = next((p for p in store.people()), None) or person(store, "Ada")
print("ready", flush=True)
for more in itertools.count(60, 60):  # it never has nothing to do: whenever the signal comes, there is work under way
    store.add_groups(groups(more), "compare")
    while hasattr(item := store.next(who), "id"):
        key = "key-" + item.group.id
        store.submit(who, item.id, key, first_wins(item))
        print(key, flush=True)
"""


def test_killed_in_the_middle_of_submits_nothing_acknowledged_is_lost_or_doubled(url: str) -> None:
    """SIGKILL after so many acknowledgements, three times; then the client sends everything again."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    acknowledged: list[str] = []
    for kill_after in (3, 11, 7):
        child = subprocess.Popen(
            [sys.executable, "-c", SUBMITS, url],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout and child.stdout.readline() == "ready\n"
        acknowledged += [child.stdout.readline().strip() for _ in range(kill_after)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        with open_store(url) as store:
            kept = Counter("key-" + act.group for act in store.judgments())
            assert set(kept.values()) == {1}
            # One more may have been written whose acknowledgement was never printed.
            assert set(acknowledged) <= set(kept) and len(kept) <= len(acknowledged) + 3
    with open_store(url) as store:
        (who,) = store.people()
        if store._engine.dialect.name == "postgresql":  # may still be busy with the last commit of who was killed
            with store._engine.begin() as db:
                db.exec_driver_sql("LOCK TABLE judgments")
        before = store.judgments()
        with database.reading(store._engine) as db:
            rows = db.exec_driver_sql("SELECT assignment, client_key FROM judgments").all()
        for id, key in rows:
            store.submit(who, id, key, first_wins(store.assignment(who, id)))
        assert store.judgments() == before and store.progress().judged == len(before)
