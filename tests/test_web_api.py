"""The API: who gets in with what, prompts and groups all or none, judgments as lines, its own description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Judgment, Prompt
from assent.feedback import stream, tokens
from assent.feedback.records import Assignment, Person, Role, Verdict
from assent.feedback.store import Store
from web_tools import ORIGIN, client, groups, join, open_store

GROUPS = "/api/v1/groups"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def lead(store: Store) -> Person:
    return store.accept(store.invite(Role.lead, None), "lead", "a long password")


@pytest.fixture
def program(store: Store, lead: Person, tmp_path: Path) -> TestClient:
    """Sends a token; neither cookies nor Origin."""
    made = client(store, tmp_path)
    del made.headers["origin"]
    made.headers["authorization"] = f"Bearer {tokens.make(store, lead, 'test', 1)}"
    return made


def sent(n: int = 2, answers: int = 2, **more: Any) -> dict[str, Any]:
    return {"groups": [json.loads(g.model_dump_json(exclude_defaults=True)) for g in groups(n, answers)], **more}


def test_a_program_puts_items_in_and_reads_where_it_stands(store: Store, program: TestClient) -> None:
    body = sent(2, overlap=3)
    body["groups"] += sent(1, 4)["groups"]
    body["prompts"] = [json.loads(Prompt.ask("Write a line.").model_dump_json())]
    assert program.post(GROUPS, json=body).json() == {"added": 4, "known": 0}
    assert program.post(GROUPS, json=body).json() == {"added": 0, "known": 4}
    found = program.get("/api/v1/progress").json()
    assert (found["items"], found["places"], found["judged"]) == (4, 12, 0)
    assert program.get("/api/v1/guideline").json() == {"guideline": None}
    store.add_guideline("Be kind.", "Rules")
    assert program.get("/api/v1/guideline").json()["guideline"]["text"] == "Be kind."


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b"[]", "an object"),
        (b"{}", "neither"),
        (b'{"items": []}', "`items` is no key"),
        (b'{"groups": {}}', "groups: a list"),
        (b'{"groups": [7]}', "groups[0]: is no group"),
        (b'{"overlap": true, "groups": []}', "overlap"),
        (b'{"overlap": 51, "groups": []}', "overlap"),
        (b'{"prompts": [{"messages": [{"role": "user", "content": "\\ud800"}]}]}', "prompts[0]"),
        (b'{"prompts": [{"messages": [{"role": "assistant", "content": "I"}]}]}', "prompts[0]"),
        (b'{"prompts": [{"id": "\\u0000", "messages": [{"role": "user", "content": "I"}]}]}', "visible characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    body: bytes, why: str, store: Store, program: TestClient
) -> None:
    got = program.post(GROUPS, content=body)
    assert got.status_code == 400 and why in got.json()["message"]
    assert store.progress().items == 0


def test_one_bad_group_leaves_nothing_behind(store: Store, program: TestClient) -> None:
    for spoil, why in ((sent(1, 1), "groups[2]: 1 answers"), (sent(1, 10), "groups[2]: 10 answers")):
        body = sent(2)
        body["groups"] += spoil["groups"]
        got = program.post(GROUPS, json=body)
        assert got.status_code == 400 and why in got.json()["message"]
    body = sent(2)
    body["groups"][1]["answers"][0]["id"] = body["groups"][1]["answers"][1]["id"]
    got = program.post(GROUPS, json=body)
    assert got.status_code == 400 and "groups[1]" in got.json()["message"]
    assert store.progress().items == 0 and store.groups() == []


def test_judgments_come_as_lines_that_stand_or_all(store: Store, lead: Person, program: TestClient) -> None:
    store.add_groups(groups(3), "compare")
    for i in range(3):
        item = store.next(lead)
        assert isinstance(item, Assignment)
        store.submit(lead, item.id, f"k{i}", Verdict(tiers=item.tiers([[0], [1]]), strength=1))
    store.undo(lead, "u")
    for acts, count in (("standing", 2), ("all", 4)):
        got = program.get(f"/api/v1/judgments?acts={acts}")
        assert got.headers["content-type"].startswith("application/jsonl")
        lines = [Judgment.model_validate_json(line) for line in got.text.splitlines()]
        assert len(lines) == count and "lead" not in got.text
    assert lines == store.judgments()
    assert program.get("/api/v1/judgments").text.count("\n") == 2
    assert program.get("/api/v1/judgments?acts=some").status_code == 400


def test_long_streams_come_whole_and_in_order(store: Store, lead: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    made = groups(7)
    judged = [Judgment(id=f"j{i}", group=g.id, rater="r", outcome="both_bad") for i, g in enumerate(made)]
    judged.append(judged[3].model_copy(update={"id": "j7", "supersedes": "j3"}))
    store.add_judgments(made, judged)
    for batch in (1, 2, 7, 8, 9):
        monkeypatch.setattr(stream, "BATCH", batch)
        every = [json.loads(line)["id"] for line in stream.judgments(store, everything=True)]
        assert every == [f"j{i}" for i in range(8)]
        standing = [json.loads(line)["id"] for line in stream.judgments(store)]
        assert standing == ["j0", "j1", "j2", "j4", "j5", "j6", "j7"]


def test_snapshots_are_listed_the_newest_first(store: Store, program: TestClient, tmp_path: Path) -> None:
    assert program.get("/api/v1/snapshots").json() == []
    for name in ("snapshot-20260101-000000", "snapshot-20260102-000000"):
        store.snapshot(tmp_path / "exports" / name)
    found = program.get("/api/v1/snapshots").json()
    assert [each["name"] for each in found] == ["snapshot-20260102-000000", "snapshot-20260101-000000"]
    assert found[0]["datasheet"]["counts"]["groups"] == 0


def test_its_description_holds_these_routes_and_no_others(program: TestClient, tmp_path: Path, store: Store) -> None:
    found = program.get("/api/v1/openapi.json").json()
    assert set(found["paths"]) == {
        f"/api/v1/{name}" for name in ("progress", "guideline", "snapshots", "judgments", "groups")
    }
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert {"Group", "Prompt", "Judgment"} <= names <= set(found["components"]["schemas"])
    assert client(store, tmp_path).get("/api/v1/openapi.json").status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer wrong", "Basic bGVhZDpwdw==", "", "bearer\tx"])
def test_a_wrong_token_is_nobody_even_with_a_leads_cookie(
    header: str, store: Store, lead: Person, tmp_path: Path
) -> None:
    http = client(store, tmp_path)
    token = join(store, http, Role.lead, "other")
    assert http.get("/api/v1/progress").status_code == 200
    headers = {"authorization": header}
    assert http.get("/api/v1/progress", headers=headers).status_code == 401
    assert http.post(GROUPS, json=sent(), headers=headers).status_code == 401
    del http.headers["origin"]
    assert http.post(GROUPS, json=sent(), headers=headers).status_code == 401
    assert http.post(GROUPS, json=sent(), headers={**headers, "x-csrf-token": token}).status_code == 401
    assert store.progress().items == 0


def test_a_cookie_still_needs_origin_and_csrf(store: Store, lead: Person, tmp_path: Path) -> None:
    http = client(store, tmp_path)
    token = join(store, http, Role.lead, "other")
    assert http.post(GROUPS, json=sent()).status_code == 401
    assert http.post(GROUPS, json=sent(), headers={"x-csrf-token": token}).status_code == 200
    del http.headers["origin"]
    assert http.post(GROUPS, json=sent(), headers={"x-csrf-token": token}).status_code == 403


def test_a_token_opens_the_api_alone(store: Store, program: TestClient) -> None:
    assert program.get("/lead/contests").status_code == 401
    assert program.get("/work").status_code == 401
    for path in ("/api/next", "/api/v1/../next", "/lead/access", "/lead/people/change", "/api/v1"):
        assert program.post(path, json={}, headers={"origin": ORIGIN}).status_code in (401, 403, 404), path
        assert program.post(path, json={}).status_code == 403, path


def test_a_page_elsewhere_gets_nowhere_with_a_token(program: TestClient) -> None:
    for origin in ("https://evil.example", "null", ""):
        assert program.post(GROUPS, json=sent(), headers={"origin": origin}).status_code == 403
    assert "access-control-allow-origin" not in program.get("/api/v1/progress").headers
    assert program.get("/api/v1/progress", headers={"host": "evil.example"}).status_code == 421


def test_the_role_of_the_token_is_its_persons(store: Store, lead: Person, tmp_path: Path) -> None:
    other = store.accept(store.invite(Role.lead, None), "other", "a long password")
    http = client(store, tmp_path)
    headers = {"authorization": f"Bearer {tokens.make(store, other, 'test', 1)}"}
    store.change_person(lead.id, other.id, role=Role.reviewer)
    assert http.get("/api/v1/progress", headers=headers).status_code == 200
    assert http.get("/api/v1/judgments", headers=headers).status_code == 403
    assert http.post(GROUPS, json=sent(), headers=headers).status_code == 403
    assert store.progress().items == 0


def test_a_token_is_shown_once_and_revoked_on_the_page(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path)
    csrf = join(store, http, Role.lead, "lead")
    page = http.post("/lead/access", data={"csrf": csrf, "name": "<i>nightly", "days": "30"}).text
    token = re.search(r'value="(assent_[^"]+)"', page)
    assert token and "&lt;i&gt;nightly" in page and "<i>" not in page
    assert token[1] not in http.get("/lead/access").text
    headers = {"authorization": f"Bearer {token[1]}"}
    assert http.get("/api/v1/progress", headers=headers).status_code == 200
    id = tokens.listed(store)[0].id
    assert http.post("/lead/access/revoke", data={"csrf": csrf, "token": id}).status_code == 303
    assert http.get("/api/v1/progress", headers=headers).status_code == 401
    for days in ("", "31", "1e3", "-1"):
        assert http.post("/lead/access", data={"csrf": csrf, "name": "n", "days": days}).status_code == 400
