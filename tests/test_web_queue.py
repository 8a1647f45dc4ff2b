"""The lead's pages on the queue: the mix, the look ahead, items, and asking again after a change of the guideline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.feedback import places
from assent.feedback.records import Assignment, Queue, Role, Verdict
from assent.feedback.store import Store
from web_tools import client, groups, join, open_store

MIX = {"gold": "5", "repeat": "4", "control": "20", "conflict": "10", "quiz_pass": "80"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def judge(store: Store, name: str, count: int, flip: bool = False) -> None:
    """One more rater, who judges so many items in 10 s each."""
    who = store.accept(store.invite(Role.rater, None), name, "a long password")
    if guideline := store.guideline():
        store.read_guideline(who, guideline.version)
    for k in range(count):
        item = store.next(who)
        assert isinstance(item, Assignment)
        tiers = tuple((answer.id,) for answer in item.group.answers)
        store.submit(who, item.id, f"k{k}", Verdict(tiers=tiers[::-1] if flip else tiers, visible_ms=10_000))


def test_the_mix_is_set_and_shares_that_do_not_fit_change_nothing(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.lead, "Lead")
    before = store.queue()
    for wrong, said in (
        ({"gold": "60", "control": "30.5"}, "The four shares are 104.5 % together."),
        ({"gold": "-1"}, "“-1” is no share."),
        ({"gold": "nan"}, "“nan” is no share."),
        ({"conflict": "<b>"}, "“&lt;b&gt;” is no share."),
        ({"quiz_pass": "101"}, "“101” is no share."),
    ):
        answer = http.post("/lead/queue/mix", data={**MIX, **wrong, "csrf": token})
        assert answer.status_code == 400 and said in answer.text and store.queue() == before
        assert 'value="4"' in answer.text  # what was typed is still there
    assert http.post("/lead/queue/mix", data={**MIX, "gold": "5,5", "csrf": token}).status_code == 200
    assert store.queue() == Queue(gold=0.055, repeat=0.04, control=0.2, conflict=0.1, quiz_pass=0.8)
    assert store.audit_log(1)[0].action == "queue"


def test_a_look_ahead_counts_choices_and_hands_out_nothing(store: Store, http: TestClient) -> None:
    join(store, http, Role.lead, "Lead")
    store.add_groups(groups(30), "compare")
    lead = next(each for each in store.people() if each.name == "Lead")
    page = http.get("/lead/queue", params={"rater": lead.id}).text
    assert '<td>In line</td><td class="n">20</td>' in page and store.progress().leased == 0
    for unknown in ("nobody", "\x00"):
        assert http.get("/lead/queue", params={"rater": unknown}).status_code == 404


def test_hours_are_shown_from_twenty_timed_judgments(store: Store, http: TestClient) -> None:
    """20 judgments of 10 s each, 25 of 45 left: 250 s; an hour brings 360."""
    join(store, http, Role.lead, "Lead")
    store.add_groups(groups(45), "compare")
    judge(store, "Ada", 19)
    assert "19 timed judgments, shown from 20" in http.get("/lead/queue").text
    judge(store, "Ben", 1)
    page = http.get("/lead/queue").text
    assert "4 min 10 s" in page and "360 judgments" in page


def test_items_are_raised_and_taken_out(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.lead, "Lead")
    store.add_groups(groups(3), "compare")
    first = str(places.first_in_line(store, 1)[0].n)

    def change(**form: object) -> int:
        return http.post("/lead/queue/items", data={"csrf": token, **form}).status_code

    assert change(which="ticked", item=[first], overlap="4", do="raise") == 200
    assert [(s.overlap, s.items) for s in places.stacks(store)] == [(1, 2), (4, 1)]
    assert change(which="compare/1", do="out") == 200
    assert [(s.overlap, s.items) for s in places.stacks(store)] == [(0, 2), (4, 1)]
    for wrong in (
        {"which": "ticked", "overlap": "2"},
        {"which": "ticked", "item": ["x"], "overlap": "2"},
        {"which": "ticked", "item": [first], "overlap": "51"},
        {"which": "ticked", "item": [first], "overlap": "²"},
        {"which": "everything", "overlap": "2"},
    ):
        assert change(**wrong, do="raise") == 400
    assert [(s.overlap, s.items) for s in places.stacks(store)] == [(0, 2), (4, 1)]


def test_items_that_a_change_touches_are_asked_again_once(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.lead, "Lead")
    assert "nothing has changed" in http.get("/lead/queue/reask").text
    one = store.add_guideline("R1: Short.", "<i>g</i>")
    store.add_groups(groups(2, say="<script>alert(1)</script> R1"), "compare")
    judge(store, "Ada", 2)
    two = store.add_guideline("R1: Long.", "<i>g</i>")
    page = http.get("/lead/queue/reask").text
    assert "Ask 2 items of one more person" in page and "<script>alert" not in page and "<i>g</i>" not in page
    form = {"csrf": token, "old": one, "new": two}
    assert "2 items are asked" in http.post("/lead/queue/reask", data=form).text
    assert "0 items are asked" in http.post("/lead/queue/reask", data=form).text
    assert store.progress().places == 4
    assert http.post("/lead/queue/reask", data={**form, "old": "invented"}).status_code == 404
    assert http.post("/lead/queue/reask", data={**form, "old": two, "new": one}).status_code == 400
    assert http.get("/lead/queue/reask", params={"old": "x" * 9}).status_code == 404
