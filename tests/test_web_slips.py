"""The same of the screens: pages from before a sign-in, names of hosts and ids as only others choose them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, tzinfo
from pathlib import Path
from threading import Semaphore
from typing import Any, Self

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from asked_models import Models, by_model, endpoint
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.feedback.acts import SETTLED
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.web import export
from assent.web.data import PERSONAL
from assent.web.summaries import cast_votes, hardest, left_share, prompts_of
from web_tools import PASSWORD, client, groups, join, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def test_a_page_from_before_the_sign_in_is_told_to_sign_in(store: Store, http: TestClient) -> None:
    """401 and nothing else: the page keeps answers that were not sent on it, and throws away what was refused."""
    before = {"x-csrf-token": join(store, http, Role.rater, "Ada")}
    store.add_groups(groups(1), "compare")
    item = http.post("/api/next", json={}, headers=before).json()["item"]
    answer = {"key": "k", "assignment": item["id"], "verdict": {"outcome": "both_bad"}}
    http.cookies.clear()
    http.cookies.set("assent_session", store.sign_in("Ada", PASSWORD))
    assert http.post("/api/submit", json=answer, headers=before).status_code == 401
    http.cookies.clear()
    assert http.post("/api/submit", json=answer, headers=before).status_code == 401
    assert store.judgments() == []


def test_who_is_signed_in_is_not_asked_to(store: Store, http: TestClient) -> None:
    join(store, http, Role.rater, "Ada")
    reply = http.get("/sign-in")
    assert (reply.status_code, reply.headers["location"]) == (303, "/")


@pytest.mark.parametrize("host", ["[", "[::1", "]", "[v1.x]", ""])
def test_a_host_that_is_no_name_is_refused(host: str, http: TestClient) -> None:
    assert http.get("/healthz", headers={"host": host}).status_code == 421


def test_made_up_methods_make_no_new_series(store: Store, http: TestClient) -> None:
    join(store, http, Role.reviewer, "Bea")
    assert http.request("BREW", "/rate").status_code in (401, 403, 405)
    assert "BREW" not in http.get("/metrics").text


def test_ids_with_slashes_are_ids_like_others() -> None:
    prompt = Prompt(id="org/set/1", messages=Prompt.ask("Which?").messages)
    answers = tuple(Answer.of(prompt, text).model_copy(update={"id": f"a/{text}"}) for text in ("x", "y"))
    group = Group(prompt=prompt, answers=answers)
    said = [
        Judgment(id=rater, group=group.id, rater=rater, tiers=(("a/x",), ("a/y",))[::step])
        for rater, step in (("ada", 1), ("bob", -1))
    ]
    by_id = {group.id: group}
    (found,) = hardest(cast_votes(said, by_id), by_id)
    assert found.prompt == "Which?" and found.counts == (1, 0, 1, 0)
    assert list(prompts_of(by_id)) == ["org/set/1/a/x/a/y"]


def test_addresses_are_found_and_long_words_are_passed_over_quickly() -> None:
    """Tried from each of its letters, the long word would take minutes."""
    assert PERSONAL.search("write to ada.b+c@example.org") and PERSONAL.search("call +49 170 1234567")
    assert not PERSONAL.search("a" * 300_000)


def test_slow_models_do_not_take_every_thread_of_the_server(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path, endpoints=(endpoint("x"), endpoint("y")))
    state = http.app.state  # type: ignore[attr-defined]
    state.models, state.asking = Models(by_model).client, Semaphore(0)
    headers = {"x-csrf-token": join(store, http, Role.rater, "Ada")}
    begun = http.post("/api/chat/start", json={"key": "c", "mode": "ordinary"}, headers=headers).json()
    message = {"chat": begun["chat"]["id"], "key": "s", "text": "hello"}
    assert http.post("/api/chat/say", json=message, headers=headers).status_code == 503
    state.asking = Semaphore(1)
    for _ in range(2):
        said = http.post("/api/chat/say", json={**message, "key": f"s{_}"}, headers=headers)
        assert len(said.json()["chat"]["answers"]) == 2
        vote = {"chat": message["chat"], "turn": _, "key": f"v{_}", "verdict": {"outcome": "both_bad"}}
        assert http.post("/api/chat/vote", json=vote, headers=headers).status_code == 200


class Noon(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 1, 1, 12, tzinfo=tz)


def test_two_snapshots_of_one_moment_have_two_folders(
    store: Store, http: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two who ask at once finds the folder made, and as yet empty; nobody can take that for a whole."""
    token = join(store, http, Role.lead, "Lead")
    root = tmp_path / "exports"
    monkeypatch.setattr(export, "datetime", Noon)
    name = "snapshot-20260101-120000"
    (root / name).mkdir(parents=True)
    assert http.post("/lead/export", data={"csrf": token}).status_code == 303
    made = [each.name for each in root.iterdir() if (each / "datasheet.json").is_file()]
    assert made == [f"{name}-2"]
    assert http.get(f"/lead/export/{name}.zip").status_code == 404
    assert http.get(f"/lead/export/{name}-2.zip").status_code == 200


def test_what_was_settled_says_nothing_of_a_persons_side() -> None:
    (group,) = groups(1)
    order = tuple(answer.id for answer in group.answers)
    act = Judgment(id="j", group=group.id, rater="r", shown_order=order, tiers=tuple((a,) for a in order))
    settled = act.model_copy(update={"reasons": (SETTLED,)})
    assert left_share([act] * 20).text == "100 %"
    assert left_share([settled] * 20).text == "–"


def test_a_full_disk_is_said_and_the_same_answer_is_kept_once_there_is_room(
    store: Store, http: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    token = {"x-csrf-token": join(store, http, Role.lead, "Ada")}
    store.add_groups(groups(1), "compare")
    item = http.post("/api/next", json={}, headers=token).json()["item"]
    verdict = {"outcome": "ranked", "tiers": [[0], [1]], "strength": 2, "ideal": "better " * 5000}
    body = {"key": "k", "assignment": item["id"], "verdict": verdict}

    def full(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes that for: no page more than there are

    event.listen(store._engine, "checkout", full)
    refused = http.post("/api/submit", json=body, headers=token)
    event.remove(store._engine, "checkout", full)
    assert refused.status_code == 503 and "cannot be written" in refused.json()["message"]
    assert "database or disk is full" in capsys.readouterr().err
    with closing(store._engine.raw_connection()) as connection:
        connection.execute("PRAGMA max_page_count = 1000000")  # type: ignore[attr-defined]
    assert http.post("/api/submit", json=body, headers=token).json() == {"state": "kept"}
    assert [act.ideal for act in store.judgments()] == ["better " * 5000]


def test_a_page_says_that_the_database_is_gone(store: Store, http: TestClient, tmp_path: Path) -> None:
    join(store, http, Role.lead, "Ada")

    store._engine.dispose()
    (file,) = tmp_path.glob("*.db")
    file.rename(tmp_path / "elsewhere")
    file.mkdir()  # so that no new file is made in its place
    page = http.get("/lead")
    assert page.status_code == 503 and "what was saved is safe" in page.text
    assert "unable to open" not in page.text and "script-src" in page.headers["content-security-policy"]
