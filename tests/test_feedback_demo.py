"""The filled project of `assent serve --demo`: every page has something to show, and habits planted are found."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient

from assent.feedback.demo import LEAD, RATERS, DemoClock, fill
from assent.feedback.reads import standing
from assent.feedback.records import Person, Role, Wait
from assent.feedback.store import Store
from test_web_routes import routes
from web_tools import HASHER, PASSWORD, client, token_in

NOW = time.time()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, Person], DemoClock]]:
    """A store filled at one moment, with the same ids each time: the queue draws from them who is shown what where."""
    clock, draw = DemoClock(lambda: NOW), Random(0)
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    with Store.open(str(path), create=True, clock=clock, hasher=HASHER) as store:
        known = {name: lambda size: draw.randbytes(size).hex() for name in ("token_hex", "token_urlsafe")}
        with patch.multiple(secrets, **known):
            people = fill(store, clock, PASSWORD)
        yield store, people, clock


OF_ONE = ("/lead/adjudicate/case", "/lead/gold/item")
"""Pages of one thing, which must be named."""


def signed_in(store: Store, folder: Path, name: str) -> TestClient:
    http = client(store, folder)
    form = {"name": name, "password": PASSWORD, "csrf": token_in(http.get("/sign-in").text)}
    assert http.post("/sign-in", data=form).status_code == 303
    return http


@pytest.mark.parametrize("name", [LEAD, RATERS[0].name])
def test_every_page_is_alive(demo: tuple[Store, dict[str, Person], DemoClock], tmp_path: Path, name: str) -> None:
    store, people, _ = demo
    http = signed_in(store, tmp_path, name)
    for method, path in routes(http):
        if method == "GET" and "{" not in path and path not in ("/", "/sign-in", *OF_ONE):
            reply = http.get(path)
            allowed = (200,) if people[name].role == Role.lead else (200, 403)
            assert reply.status_code in allowed, (path, reply.status_code)
    if people[name].role == Role.lead:
        assert "reward-model" in http.get("/lead/quality").text and "Dana" in http.get("/lead/people").text
    else:
        assert http.get("/work").text.count("<tr>") > 10


def test_what_was_planted_is_there(demo: tuple[Store, dict[str, Person], DemoClock]) -> None:
    store, people, clock = demo
    assert clock() == NOW, "the clock is everybody's again"
    moments = [act.times["received"] for act in store.judgments() if "received" in act.times]
    assert moments == sorted(moments) and moments[-1] - moments[0] > 4 * 24 * 3600
    left = {
        name: [
            act.tiers[0][0] == act.shown_order[0]
            for act in standing(store.judgments())
            if act.rater == person.rater.id and len(act.shown_order) == len(act.tiers) == 2
        ]
        for name, person in people.items()
    }
    often = [habits.name for habits in RATERS if habits.share == 1]
    others = [first for name in often if name != "Dana" for first in left[name]]
    assert min(len(left[name]) for name in often) > 40
    assert sum(left["Dana"]) / len(left["Dana"]) > 0.55, "planted: about .83 in six fills"
    assert 0.4 < sum(others) / len(others) < 0.6
    assert any(r.kind == "model" for r in store.raters())


def test_people_are_left_with_work_to_do(demo: tuple[Store, dict[str, Person], DemoClock]) -> None:
    store, people, _ = demo
    assert not isinstance(store.next(people[RATERS[0].name]), Wait)
    assert len({g.version for g in store.guidelines()}) == 2
