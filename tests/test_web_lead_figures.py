"""Figures are computed once for each change, shared, rested, and never by two at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from assent.feedback.attributes import set_attributes
from assent.feedback.records import Role
from assent.feedback.state import State
from assent.feedback.store import Store
from assent.web import figures as module
from assent.web.figures import QUICK, REST, Figures
from feedback_store import Clock, first_wins, given, groups, judge, person
from web_tools import client, join, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        made.add_groups(groups(8), "compare")
        yield made


class Counted:
    """A figure that counts how often it is computed; each computing takes `seconds` of the clock."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def __call__(self, state: State) -> int:
        self.calls += 1
        self.clock.now += self.seconds
        return len(state.standing)


def test_a_second_look_computes_nothing_and_a_change_does(store: Store) -> None:
    clock = Clock()
    figures, figure = Figures(store, clock), Counted(clock)
    who = person(store, "one")
    assert [figures.of(figure) for _ in range(3)] == [0, 0, 0] and figure.calls == 1
    item = given(store, who)
    assert figures.of(figure) == 0 and figure.calls == 1  # a lease is no change
    store.submit(who, item.id, "k1", first_wins(item))
    assert [figures.of(figure) for _ in range(2)] == [1, 1] and figure.calls == 2
    store.submit(who, item.id, "k1", first_wins(item))  # the same act again
    assert figures.of(figure) == 1 and figure.calls == 2
    store.undo(who, "k2")
    assert figures.of(figure) == 0 and figure.calls == 3


def test_guideline_queue_imports_and_what_people_tell_are_changes(store: Store) -> None:
    clock = Clock()
    figures, figure = Figures(store, clock), Counted(clock)
    who, calls = person(store, "one"), 1
    figures.of(figure)
    for change in (
        lambda: store.add_guideline("R1: Be right.", "g"),
        lambda: store.set_queue(store.queue()),
        lambda: store.add_groups(groups(9), "compare"),
        lambda: store.add_judgments(groups(1), []),
        lambda: set_attributes(store, who, {"age": "under 30"}),
    ):
        change()
        figures.of(figure)
        calls += 1
        assert figure.calls == calls


def test_what_takes_long_rests_longer(store: Store) -> None:
    clock = Clock()
    figures, figure = Figures(store, clock), Counted(clock, seconds=2.0)
    who = person(store, "one")
    assert figures.of(figure) == 0
    judge(store, who, "k1")
    clock.now += 2.0 * REST - 0.01
    assert figures.of(figure) == 0 and figure.calls == 1
    clock.now += 0.02
    assert figures.of(figure) == 1 and figure.calls == 2


def test_what_is_quick_does_not_rest_and_what_was_taken_back_does_not_stay(store: Store) -> None:
    clock = Clock()
    quick, slow = Counted(clock, seconds=QUICK), Counted(clock, seconds=60.0)
    figures, who = Figures(store, clock), person(store, "one")
    set_attributes(store, who, {"age": "under 30"})
    for figure in (quick, slow):
        figures.of(figure)
    judge(store, who, "k1")
    assert (figures.of(quick), figures.of(slow)) == (1, 0)
    set_attributes(store, who, None)
    assert figures.of(slow) == 1 and slow.calls == 2


def test_figures_of_one_moment_read_the_store_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Counter[str]()
    read = module.state
    monkeypatch.setattr(module, "state", lambda store: reads.update("r") or read(store))
    clock = Clock()
    figures = Figures(store, clock)
    for figure in (Counted(clock), Counted(clock)):
        figures.of(figure)
        figures.of(figure)
    assert reads["r"] == 1


def test_a_figure_that_fails_is_tried_again(store: Store) -> None:
    figures, tries = Figures(store), []

    def fails(state: State) -> int:
        tries.append(state)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            figures.of(fails)
    assert len(tries) == 2


def test_while_one_computes_others_see_what_was_known(store: Store) -> None:
    """The first ones of all wait for one computing; later ones are given the older figure at once."""
    entered, go, calls = threading.Event(), threading.Event(), []

    def slow(state: State) -> int:
        calls.append(len(state.standing))
        entered.set()
        assert go.wait(120)
        return len(state.standing)

    figures, found = Figures(store, Clock()), []
    first = [threading.Thread(target=lambda: found.append(figures.of(slow))) for _ in range(4)]
    for thread in first:
        thread.start()
    assert entered.wait(120)
    go.set()
    for thread in first:
        thread.join(120)
    assert found == [0, 0, 0, 0] and calls == [0]
    judge(store, person(store, "one"), "k1")
    entered.clear()
    go.clear()
    other = threading.Thread(target=lambda: found.append(figures.of(slow)))
    other.start()
    assert entered.wait(120)
    assert figures.of(slow) == 0  # not waiting for the other
    go.set()
    other.join(120)
    assert found[-1] == 1 and figures.of(slow) == 1 and calls == [0, 1]


def test_pages_looked_at_again_compute_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    http = client(store, tmp_path)
    join(store, http, Role.lead, "lead")
    who = person(store, "one")
    judge(store, who, "k1")
    computed = Counter[str]()
    fresh = Figures._fresh
    monkeypatch.setattr(
        Figures, "_fresh", lambda self, compute: computed.update([str(compute)]) or fresh(self, compute)
    )
    pages = ("/lead", "/lead/quality", "/lead/people", f"/lead/people/{who.id}", "/lead/pool")
    for _ in range(3):
        for page in pages:
            assert http.get(page).status_code == 200
    assert len(computed) == 4 and set(computed.values()) == {1}  # people and one person share theirs
