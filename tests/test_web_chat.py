"""The chat by HTTP: blind, once, resumable; a vote reaches snapshots and agreement."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from asked_models import Models, by_model, endpoint
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.formats import read_preferences
from web_tools import client, join, open_store

ENDPOINTS = (endpoint("x", temperature=0.5), endpoint("y"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


class Talk:
    """One rater and the models he talks with."""

    def __init__(self, store: Store, folder: Path, models: Models, name: str = "Ada") -> None:
        self.http: TestClient = client(store, folder, endpoints=ENDPOINTS)
        self.http.app.state.models = models.client  # type: ignore[attr-defined]
        self.token = join(store, self.http, Role.rater, name)

    def post(self, deed: str, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"/api/chat/{deed}", json=body, headers={"x-csrf-token": self.token})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def start(self, mode: str = "ordinary", key: str = "c") -> dict[str, Any]:
        return dict(self.post("start", key=key, mode=mode)["chat"])

    def say(self, chat: dict[str, Any], key: str, text: str = "hello") -> dict[str, Any]:
        return dict(self.post("say", chat=chat["id"], key=key, text=text)["chat"])

    def vote(self, chat: dict[str, Any], key: str, status: int = 200, **verdict: Any) -> dict[str, Any]:
        cast = verdict or {"outcome": "ranked", "tiers": [[0], [1]], "strength": 2}
        return self.post("vote", status, chat=chat["id"], turn=chat["turn"], key=key, verdict=cast)

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/api/chat").json())


def test_a_conversation_from_the_first_word_to_the_snapshot(store: Store, tmp_path: Path) -> None:
    models = Models(by_model)
    talk = Talk(store, tmp_path, models)
    assert talk.state() == {"chat": None}
    chat = talk.say(talk.start(), "s1", "hello")
    assert sorted(each["text"][0] for each in chat["answers"]) == ["X", "Y"]
    chosen = chat["answers"][1]["text"]
    times = {"shown": 1.0, "first_input": 2.0, "submitted": 3.0}
    verdict = {"outcome": "ranked", "tiers": [[1], [0]], "strength": 3, "times": times, "visible_ms": 1500}
    chat = talk.vote(chat, "v1", **verdict)["chat"]
    assert chat["outcome"] == "chosen" and chat["turn"] == 1 and not chat["answers"]
    talk.say(chat, "s2", "and then?")
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": chosen}]
    turns.append({"role": "user", "content": "and then?"})
    assert [body["messages"] for body in models.asked[2:]] == [turns, turns]  # both go on from the chosen answer
    talk.post("stop", chat=chat["id"])
    assert talk.state() == {"chat": None}

    store.snapshot(tmp_path / "out")
    kept = read_preferences(tmp_path / "out" / "preferences")
    (group,), (judgment,) = kept.groups, kept.judgments
    texts = {each.id: each.text for each in group.answers}
    assert texts[judgment.tiers[0][0]] == chosen and texts[judgment.shown_order[1]] == chosen
    assert {k: judgment.times[k] for k in times} == times and judgment.times["visible_ms"] == 1500
    sources = {"secret-x (temperature 0.5, at most 512 tokens)", "secret-y (temperature 1, at most 512 tokens)"}
    assert {each.source for each in group.answers} == sources
    for each in group.answers:  # each answer is stamped with what it was sampled with
        assert each.text == f"{each.source[7].upper()} after 1, {each.seed}"


def test_who_answers_stays_hidden(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbits", lambda bits: 1)  # seeds so long that no page holds them by chance
    talk = Talk(store, tmp_path, Models(lambda body: f"answer {body['seed'] % 7}, {body['model'] == 'secret-x'}"))
    chat = talk.say(talk.start(), "s")
    seen = [json.dumps(chat), json.dumps(talk.state()), talk.http.get("/chat").text]
    seen.append(json.dumps(talk.vote(chat, "v")))
    (group,) = store.groups()
    hidden = [group.id, *(each.id for each in group.answers), *(str(each.seed) for each in group.answers)]
    hidden += ["secret-", "end-x", "end-y", "temperature", "127.0.0.1"]
    for text in seen:
        assert not [word for word in hidden if word in text]


def test_a_model_that_fails_is_not_named_and_costs_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = [True]

    def answer(body: dict[str, Any]) -> str | httpx.Response:
        if down[0] and body["model"] == "secret-y":
            return httpx.Response(400, json={"error": {"message": "secret-y has no room for this"}})
        return by_model(body)

    talk = Talk(store, tmp_path, Models(answer))
    chat = talk.start()
    said = talk.post("say", 502, chat=chat["id"], key="s", text="hello")
    assert "secret" not in json.dumps(said) and "end-" not in json.dumps(said)
    assert "end-y: answered 400: secret-y has no room" in " ".join(capsys.readouterr().err.split())
    # A reload finds the message waiting, and asks again under its key.
    waiting = talk.state()["chat"]["waiting"]
    assert waiting == {"key": "s", "text": "hello"}
    down[0] = False
    again = talk.say(chat, **waiting)
    assert len(again["answers"]) == 2 and again["waiting"] is None
    assert store.judgments() == []


def test_repetitions_change_nothing_and_ask_nobody(store: Store, tmp_path: Path) -> None:
    models = Models(by_model)
    talk = Talk(store, tmp_path, models)
    chat = talk.say(talk.start(), "s")
    assert talk.start() == chat and talk.say(chat, "s", "other words") == chat and talk.state()["chat"] == chat
    after = talk.vote(chat, "v")
    assert talk.vote(chat, "v", outcome="both_bad") == after
    assert talk.vote(chat, "w", status=409)["state"] == "answered"
    assert talk.say(chat, "s") == after["chat"]
    assert len(models.asked) == 2 and len(store.judgments()) == 1


@pytest.mark.parametrize(
    "verdict",
    [
        {"outcome": "ranked", "tiers": [[0]], "strength": 1},
        {"outcome": "ranked", "tiers": [[0], [0]], "strength": 1},
        {"outcome": "ranked", "tiers": [[0, 1]], "strength": 2},
        {"outcome": "ranked", "tiers": []},
        {"outcome": "both_bad", "tiers": [[0], [1]]},
        {"outcome": "skip"},
        {"outcome": "ranked", "tiers": [[0], [2]], "strength": 1},
    ],
)
def test_a_vote_that_does_not_fit_leaves_the_answers_waiting(
    verdict: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    talk = Talk(store, tmp_path, Models(by_model))
    chat = talk.say(talk.start(), "s")
    body = {"chat": chat["id"], "turn": 0, "key": "v", "verdict": verdict}
    refused = talk.http.post("/api/chat/vote", json=body, headers={"x-csrf-token": talk.token})
    assert refused.status_code in (400, 422)
    assert talk.state()["chat"] == chat and store.judgments() == [] and store.groups() == []


def test_other_people_s_conversations_are_not_there(store: Store, tmp_path: Path) -> None:
    models = Models(by_model)
    ada, ben = Talk(store, tmp_path, models), Talk(store, tmp_path, models, "Ben")
    chat = ada.say(ada.start(), "s")
    ben.post("say", 404, chat=chat["id"], key="b", text="mine now")
    ben.vote(chat, "b", status=404)
    ben.post("stop", 404, chat=chat["id"])
    assert ben.state() == {"chat": None} and ada.state()["chat"] == chat


def test_the_guideline_comes_first(store: Store, tmp_path: Path) -> None:
    talk = Talk(store, tmp_path, Models(by_model))
    chat = talk.start()
    store.add_guideline("Be kind.", "Rules")
    assert talk.post("say", 409, chat=chat["id"], key="s", text="hello")["state"] == "guideline"
    assert talk.post("start", 409, key="c2", mode="ordinary")["state"] == "guideline"


def test_a_model_that_left_the_file_is_said_so(store: Store, tmp_path: Path) -> None:
    talk = Talk(store, tmp_path, Models(by_model))
    chat = talk.start()
    settings = talk.http.app.state.settings  # type: ignore[attr-defined]
    object.__setattr__(settings, "endpoints", (endpoint("z"),))
    assert "not here any more" in talk.post("say", 409, chat=chat["id"], key="s", text="hello")["message"]


def test_without_endpoints_the_page_says_so_and_the_menu_does_not_offer_it(store: Store, tmp_path: Path) -> None:
    without, having = client(store, tmp_path), client(store, tmp_path, endpoints=ENDPOINTS)
    token = join(store, without, Role.lead, "Ada")
    join(store, having, Role.lead, "Ben")
    for path, says in (("/chat", "no models to talk to"), ("/lead/sample", "no models to ask")):
        link = f'href="{path}"'
        page = without.get(path)
        assert page.status_code == 200 and says in page.text and link not in page.text
        assert says not in having.get(path).text and link in having.get(path).text
    body = {"key": "c", "mode": "ordinary"}
    assert without.post("/api/chat/start", json=body, headers={"x-csrf-token": token}).status_code == 404
