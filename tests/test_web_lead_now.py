"""The lead's first page: the forecast, stuck items, what people said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Answer, Group, Prompt, Rater
from assent.feedback import forecast
from assent.feedback.records import Queue, Role, Verdict
from assent.feedback.store import Store
from assent.web import lead
from feedback_store import CHEAP, Clock, given, groups, judge, person
from lead_states import judged
from web_tools import client, join

DAY = 86_400.0
SKIP = Verdict(outcome="skip", reasons=("skip:unclear",), note="<b>which</b> one?")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The page's clock as well: shortly before midnight a second would be a day."""
    made = Clock()
    monkeypatch.setattr(lead, "time", SimpleNamespace(time=made))
    return made


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(str(tmp_path / "f.db"), create=True, clock=clock, hasher=CHEAP) as made:
        made.set_queue(Queue(gold=0, repeat=0, control=0))
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    made = client(store, tmp_path)
    join(store, made, Role.reviewer, "reviewer")
    return made


def test_no_forecast_on_little_data_and_a_date_on_enough(
    store: Store, http: TestClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_groups(groups(16), "compare")
    who, now = person(store, "ann"), clock.now
    for days in (3, 2, 1):
        clock.now = now - days * DAY
        for i in range(4):
            judge(store, who, f"k{days}-{i}")
    clock.now = now
    page = http.get("/lead").text
    assert "not enough data: 12 judgments on 3 of the last 7 days; a forecast takes 50 on 3" in page
    monkeypatch.setattr(forecast, "LEAST_JUDGMENTS", 12)
    page = http.get("/lead").text
    assert "4 left at 4 a day; n 12 in the last 7 days, on 3 of them" in page  # 12 in 3 days, so one more day
    assert datetime.fromtimestamp(now + DAY, UTC).strftime("about</span> %Y-%m-%d") in page
    for i in range(4):
        judge(store, who, f"last-{i}")
    assert "all done" in http.get("/lead").text


def test_stuck_items_and_messages_are_text(store: Store, http: TestClient) -> None:
    prompt = Prompt.ask("<script>alert(1)</script>\u202e")
    store.add_groups([Group(prompt=prompt, answers=(Answer.of(prompt, "a"), Answer.of(prompt, "b")))], "compare")
    assert "Not finished, and skipped" not in http.get("/lead").text
    for name in ("ann", "bob"):
        who = person(store, name)
        store.submit(who, given(store, who).id, "k", SKIP)
    page = http.get("/lead").text
    assert "Not finished, and skipped by 2 people" in page and "&lt;b&gt;which&lt;/b&gt;" in page
    assert "<script>alert" not in page and "\u202e" not in page and "⟨U+202E⟩" in page


def test_models_tell_the_lead_nothing(store: Store, http: TestClient) -> None:
    made = groups(1)
    notes = [judged(made[0], "robot", "first", note="beep"), judged(made[0], "ann", "first", note="hello")]
    store.add_judgments(made, notes, [Rater(id="robot", kind="model")])
    page = http.get("/lead").text
    assert "hello" in page and "beep" not in page
