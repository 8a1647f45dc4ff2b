"""An item that everybody skips is withdrawn: nothing waits for it, the lead sees it, and it can be asked again."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from assent.feedback import places, withdrawn
from assent.feedback.errors import FeedbackError
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict, Wait
from assent.feedback.schema import ItemRow
from assent.feedback.store import Store
from assent.feedback.waiting import missing
from feedback_store import first_wins, given, groups, judge, person
from web_tools import client, join

SKIP = Verdict(outcome="skip", reasons=("skip:unclear",))
ALL = ItemRow.n > 0


def ready(store: Store, overlap: int, names: str = "abcdef") -> list[Person]:
    """One item, and people for it."""
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    store.add_groups(groups(1), "compare", overlap=overlap)
    return [person(store, name) for name in names]


def skip(store: Store, who: Person, key: str = "s") -> None:
    store.submit(who, given(store, who).id, key, SKIP)


def left(store: Store) -> int:
    return missing(store, ["compare"]).left


def test_two_more_skips_than_wanted_and_nothing_waits(store: Store) -> None:
    people = ready(store, overlap=2)
    for k, who in enumerate(people[:4]):
        assert left(store) == 2 and withdrawn.listed(store) == []
        skip(store, who)
        assert (left(store) == 0) == (k == 3)
    (item,) = withdrawn.listed(store)
    assert (item.wanted, item.judged, item.kind) == (2, 0, "compare") and "question 0" in item.prompt
    assert store.next(people[4]) == Wait(reason="nothing")
    entry = store.audit_log(1)[0]
    assert (entry.action, entry.actor) == ("withdrawn: skipped by all", None)


def test_what_is_judged_or_in_hand_is_kept(store: Store) -> None:
    people = ready(store, overlap=3, names="abcdefgh")
    judge(store, people[0], "j")
    held = given(store, people[1])
    for who in people[2:7]:
        skip(store, who)
    assert left(store) == 1  # the one in hand
    store.submit(people[1], held.id, "late", first_wins(held))
    assert left(store) == 0 and withdrawn.listed(store)[0].judged == 2
    assert len(store.judgments()) == 7


def test_one_person_counts_once(store: Store) -> None:
    one, *_ = ready(store, overlap=1)
    for k in range(4):
        skip(store, one, f"s{k}")
        store.undo(one, f"u{k}")
    skip(store, one, "last")
    assert left(store) == 1


def test_who_judged_it_and_skips_its_repeat_does_not_count(store: Store) -> None:
    people = ready(store, overlap=4)
    judge(store, people[0], "j")
    store.add_groups(groups(10, answers=3), "rank", overlap=9)
    for k in range(10):
        judge(store, people[0], f"j{k}")
    store.set_queue(Queue(gold=0, repeat=1, control=0))
    again = given(store, people[0])
    assert again.why == "repeat" and again.kind == "compare"
    store.submit(people[0], again.id, "r", SKIP)
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    for who in people[1:6]:
        skip(store, who)
    assert left(store) == 3 and withdrawn.listed(store) == []


def test_who_takes_the_last_skip_back_asks_for_it_again(store: Store) -> None:
    people = ready(store, overlap=1)
    for who in people[:3]:
        skip(store, who)
    assert left(store) == 0
    store.undo(people[2])
    assert withdrawn.listed(store) == [] and left(store) == 1
    judge(store, people[2], "j")
    assert left(store) == 0
    with pytest.raises(FeedbackError, match="somebody else"):
        store.undo(people[0])


def test_a_lead_asks_again_and_the_next_skip_withdraws_again(store: Store) -> None:
    people = ready(store, overlap=2)
    for who in people[:4]:
        skip(store, who)
    assert withdrawn.ask_again(store, ALL, by=None) == 1 and left(store) == 2
    assert withdrawn.ask_again(store, ALL, by=None) == 0
    judge(store, people[4], "j")
    skip(store, people[5])
    assert [(item.wanted, item.judged) for item in withdrawn.listed(store)] == [(2, 1)]
    assert places.want(store, ALL, 3, by=None) == 1
    assert withdrawn.listed(store) == [] and left(store) == 2


def test_skips_at_once_are_all_counted(store: Store) -> None:
    people = ready(store, overlap=4)
    for some in (people[:4], people[4:]):  # four have a place at a time
        begin, held = threading.Barrier(len(some)), [given(store, who) for who in some]

        def work(who: Person, item: Assignment, begin: threading.Barrier = begin) -> None:
            begin.wait()
            store.submit(who, item.id, "s", SKIP)

        threads = [threading.Thread(target=work, args=pair) for pair in zip(some, held, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert left(store) == (4 if some[0] is people[0] else 0)


def test_the_lead_sees_it_on_two_pages_and_brings_it_back(store: Store, tmp_path: Path) -> None:
    people = ready(store, overlap=1)
    http = client(store, tmp_path)
    csrf = join(store, http, Role.lead, "lead")
    assert "Skipped by all" not in http.get("/lead/queue").text and "Withdrawn" not in http.get("/lead").text
    for who in people[:3]:
        skip(store, who)
    assert "Withdrawn, since so many people skipped them: 1 items." in http.get("/lead").text
    page = http.get("/lead/queue").text
    section = page[page.index('id="withdrawn"') :]
    (number,) = re.findall(r'name="item" value="(\d+)"', section)
    assert "0 of 1" in section
    form = {"csrf": csrf, "which": "ticked", "item": number, "do": "again"}
    assert "Asked again: 1 items" in http.post("/lead/queue/items", data=form).text
    assert left(store) == 1 and judge(store, people[3], "j").group == groups(1)[0]
