"""Who may do what: every route by role, CSRF, Origin, host, sizes, replay, other people's items."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from assent.feedback.records import Role, Verdict
from assent.feedback.store import Store
from assent.web.auth import check_csrf
from web_tools import ORIGIN, PASSWORD, client, groups, join, open_store, token_in

ANYBODY = None
TABLE: dict[tuple[str, str], Role | None] = {
    ("GET", "/"): ANYBODY,
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/metrics"): Role.reviewer,
    ("GET", "/sign-in"): ANYBODY,
    ("POST", "/sign-in"): ANYBODY,
    ("POST", "/sign-out"): ANYBODY,
    ("GET", "/join/{token}"): ANYBODY,
    ("POST", "/join/{token}"): ANYBODY,
    ("GET", "/guideline"): Role.rater,
    ("POST", "/guideline"): Role.rater,
    ("GET", "/rate"): Role.rater,
    ("GET", "/work"): Role.rater,
    ("POST", "/work/contest"): Role.rater,
    ("GET", "/work/settings"): Role.rater,
    ("POST", "/work/settings"): Role.rater,
    ("POST", "/work/settings/about"): Role.rater,
    ("POST", "/work/settings/forget"): Role.rater,
    ("GET", "/lead/audit"): Role.lead,
    ("GET", "/lead/contests"): Role.reviewer,
    ("POST", "/lead/contests"): Role.reviewer,
    ("GET", "/lead/access"): Role.lead,
    ("POST", "/lead/access"): Role.lead,
    ("POST", "/lead/access/revoke"): Role.lead,
    ("GET", "/api/v1/progress"): Role.reviewer,
    ("GET", "/api/v1/guideline"): Role.rater,
    ("GET", "/api/v1/snapshots"): Role.lead,
    ("GET", "/api/v1/judgments"): Role.lead,
    ("POST", "/api/v1/groups"): Role.lead,
    ("GET", "/api/v1/openapi.json"): Role.lead,
    ("POST", "/api/next"): Role.rater,
    ("POST", "/api/submit"): Role.rater,
    ("POST", "/api/undo"): Role.rater,
    ("GET", "/chat"): Role.rater,
    ("GET", "/api/chat"): Role.rater,
    ("POST", "/api/chat/start"): Role.rater,
    ("POST", "/api/chat/say"): Role.rater,
    ("POST", "/api/chat/vote"): Role.rater,
    ("POST", "/api/chat/stop"): Role.rater,
    ("GET", "/lead/sample"): Role.lead,
    ("POST", "/lead/sample"): Role.lead,
    ("POST", "/lead/sample/again"): Role.lead,
    ("POST", "/lead/sample/stop"): Role.lead,
    ("GET", "/api/sample"): Role.lead,
    ("GET", "/lead"): Role.reviewer,
    ("GET", "/lead/quality"): Role.reviewer,
    ("GET", "/lead/guidelines"): Role.lead,
    ("POST", "/lead/guidelines"): Role.lead,
    ("GET", "/lead/gold"): Role.lead,
    ("GET", "/lead/gold/pick"): Role.lead,
    ("GET", "/lead/gold/item"): Role.lead,
    ("POST", "/lead/gold/item"): Role.lead,
    ("POST", "/lead/gold/change"): Role.lead,
    ("POST", "/lead/gold/upload"): Role.lead,
    ("POST", "/lead/gold/try"): Role.lead,
    ("GET", "/lead/adjudicate"): Role.reviewer,
    ("GET", "/lead/adjudicate/case"): Role.reviewer,
    ("POST", "/api/adjudicate"): Role.reviewer,
    ("GET", "/lead/people"): Role.lead,
    ("POST", "/lead/people"): Role.lead,
    ("GET", "/lead/people/{id}"): Role.lead,
    ("GET", "/lead/pool"): Role.lead,
    ("POST", "/lead/people/reset"): Role.lead,
    ("POST", "/lead/people/change"): Role.lead,
    ("GET", "/reset/{token}"): ANYBODY,
    ("POST", "/reset/{token}"): ANYBODY,
    ("GET", "/lead/queue"): Role.lead,
    ("POST", "/lead/queue/mix"): Role.lead,
    ("POST", "/lead/queue/items"): Role.lead,
    ("GET", "/lead/queue/reask"): Role.lead,
    ("POST", "/lead/queue/reask"): Role.lead,
    ("GET", "/lead/data"): Role.lead,
    ("POST", "/lead/data"): Role.lead,
    ("POST", "/lead/data/add"): Role.lead,
    ("GET", "/lead/export"): Role.lead,
    ("POST", "/lead/export"): Role.lead,
    ("POST", "/lead/export/build"): Role.lead,
    ("GET", "/lead/export/{name}.zip"): Role.lead,
}
"""Every route and the least role that may use it."""
BODIES: dict[str, Any] = {
    "/api/next": {"held": []},
    "/api/submit": {"key": "k", "assignment": "none", "verdict": {"outcome": "skip"}},
    "/api/undo": {"key": "k", "held": []},
    "/api/adjudicate": {"key": "k", "group": "none", "verdict": {"outcome": "both_bad"}},
    "/api/chat/start": {"key": "k", "mode": "ordinary"},
    "/api/chat/say": {"chat": "none", "key": "k", "text": "t"},
    "/api/chat/vote": {"chat": "none", "turn": 0, "key": "k", "verdict": {"outcome": "both_bad"}},
    "/api/chat/stop": {"chat": "none"},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def routes(http: TestClient) -> list[tuple[str, str]]:
    """Every (method, path) the application serves, whatever way it was added."""
    found = []
    pending: list[Any] = list(http.app.routes)  # type: ignore[attr-defined]
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            found += [(method, route.path) for method in route.methods - {"HEAD"}]
        elif hasattr(route, "effective_route_contexts"):
            for each in route.effective_route_contexts():
                found += [(method, each.path) for method in (each.methods or set()) - {"HEAD"}]
    return found


def ask(http: TestClient, method: str, path: str, token: str) -> int:
    body = {"json": BODIES[path]} if path in BODIES else {"data": {"csrf": token}} if method == "POST" else {}
    return http.request(
        method, path.format(token="t", name="n", id="i"), headers={"x-csrf-token": token}, **body
    ).status_code


def test_every_route_stands_in_the_table(http: TestClient) -> None:
    assert sorted(routes(http)) == sorted(TABLE)


@pytest.mark.parametrize("role", [None, *Role], ids=str)
def test_roles_open_what_the_table_says_and_nothing_else(
    role: Role | None, store: Store, http: TestClient, tmp_path: Path
) -> None:
    join(store, client(store, tmp_path), Role.lead, "first")
    token = join(store, http, role, "second") if role else token_in(http.get("/sign-in").text)
    signs_out = ("POST", "/sign-out")
    for (method, path), least in sorted(TABLE.items(), key=lambda row: row[0] == signs_out):
        status = ask(http, method, path, token)
        allowed = least is None or (role is not None and role.covers(least))
        if allowed:
            assert status not in (401, 422), (method, path, status)
            assert status != 403 or path in ("/sign-in",), (method, path, status)
        else:
            expected = 403 if role else 401 if path.startswith("/api/") else 303
            assert status == expected, (method, path, status)


@pytest.mark.parametrize("path", sorted({path for method, path in TABLE if method == "POST"}))
def test_no_post_without_its_token(path: str, store: Store, http: TestClient) -> None:
    token = join(store, http, Role.lead, "lead")
    at = path.format(token="t")
    body = {"json": BODIES[path]} if path in BODIES else {"data": {"a": "b"}}
    stale = 401 if path.startswith("/api/") else 403  # a page keeps its unsent answers on a 401
    assert http.post(at, **body).status_code == stale
    assert http.post(at, headers={"x-csrf-token": token[::-1]}, **body).status_code == stale
    for origin in ("https://evil.example", "null", ORIGIN + "0", ""):
        assert http.post(at, headers={"x-csrf-token": token, "origin": origin}, **body).status_code == 403
    del http.headers["origin"]
    assert http.post(at, headers={"x-csrf-token": token}, **body).status_code == 403


def test_one_persons_token_is_no_others(store: Store, http: TestClient, tmp_path: Path) -> None:
    join(store, http, Role.rater, "one")
    other = join(store, client(store, tmp_path), Role.rater, "two")
    assert http.post("/api/next", json={}, headers={"x-csrf-token": other}).status_code == 401


def test_the_check_of_the_token_is_on_the_whole_application(http: TestClient) -> None:
    calls = [each.dependency for each in http.app.router.dependencies]  # type: ignore[attr-defined]
    assert check_csrf in calls


def test_names_of_other_hosts_are_not_answered(http: TestClient) -> None:
    assert http.get("/sign-in", headers={"host": "evil.example"}).status_code == 421
    assert http.get("/sign-in", headers={"host": "127.0.0.1:8000"}).status_code == 200


def test_every_answer_has_the_safe_headers(http: TestClient) -> None:
    for path in ("/sign-in", "/nothing", "/static/rate.js", "/lead", "/static/../app.py"):
        headers = http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert http.get("/lead").headers["cache-control"] == "no-store"


def test_cookies_are_out_of_reach_and_over_https_only_where_it_is_https(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path, public="https://rate.example.org")
    shown = http.get("/sign-in", headers={"host": "rate.example.org"})
    assert "strict-transport-security" in shown.headers
    cookie = shown.headers["set-cookie"]
    assert cookie.startswith("__Host-") and "HttpOnly" in cookie and "Secure" in cookie and "SameSite=lax" in cookie
    plain = client(store, tmp_path).get("/sign-in").headers["set-cookie"]
    assert "HttpOnly" in plain and "Secure" not in plain


def test_bodies_that_are_too_large_are_refused_with_and_without_a_length(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    headers = {"x-csrf-token": token, "content-type": "application/json"}
    large = b" " * 300_000
    assert http.post("/api/next", content=large, headers=headers).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b" " * 1000

    assert http.post("/api/next", content=chunks(), headers=headers).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"key": "k"}',
        b'{"key": "../", "assignment": "a", "verdict": {"outcome": "skip"}}',
        b'{"key": "k", "assignment": "a", "verdict": {"outcome": "best"}}',
        b'{"key": "k", "assignment": "a", "verdict": {"outcome": "ranked", "tiers": [[99]]}}',
        b'{"key": "k", "assignment": "a", "verdict": {"outcome": "ranked", "tiers": [[true]]}}',
        b'{"key": "k", "assignment": "a", "verdict": {"outcome": "skip", "visible_ms": -1}}',
        b'{"key": "k", "assignment": "a", "verdict": {"outcome": "skip"}, "rater": "somebody"}',
        b"[" * 5000,
        b"\xff\xfe",
    ],
)
def test_malformed_answers_are_refused_in_order(body: bytes, store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    got = http.post("/api/submit", content=body, headers={"x-csrf-token": token, "content-type": "application/json"})
    assert got.status_code in (400, 422)
    assert store.judgments() == []


def rate(http: TestClient, token: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    got = http.post(f"/api/{path}", json=body, headers={"x-csrf-token": token})
    return got.status_code, got.json()


def test_an_answer_sent_twice_is_there_once_and_means_what_the_screen_showed(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    store.add_groups(groups(1), "compare")
    _, found = rate(http, token, "next")
    shown = [answer["text"] for answer in found["item"]["answers"]]
    verdict = {"outcome": "ranked", "tiers": [[1], [0]], "strength": 3, "reasons": ["correct"]}
    sent = {"key": "k1", "assignment": found["item"]["id"], "verdict": verdict}
    assert rate(http, token, "submit", **sent)[0] == 200
    assert rate(http, token, "submit", **sent)[0] == 200
    (judgment,) = store.judgments()
    texts = {answer.id: answer.text for answer in store.groups()[0].answers}
    assert [texts[a] for (a,) in judgment.tiers] == shown[::-1]
    assert [texts[a] for a in judgment.shown_order] == shown
    status, said = rate(http, token, "submit", **{**sent, "key": "k2"})
    assert (status, said["state"]) == (409, "answered")


def test_the_client_is_told_nothing_about_whose_answer_it_is(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    (group,) = groups(1)
    store.add_groups([group], "compare", gold={group.id: [[a.id] for a in group.answers]})
    store.set_queue(store.queue().model_copy(update={"gold": 1.0}))
    _, found = rate(http, token, "next")
    said = json.dumps(found)
    assert not any(secret in said for secret in (group.id, "gold", *(answer.id for answer in group.answers)))
    body = {"key": "k", "assignment": found["item"]["id"], "verdict": {"outcome": "ranked", "tiers": [[0]]}}
    status, refused = rate(http, token, "submit", **body)
    assert status == 400 and not any(answer.id in json.dumps(refused) for answer in group.answers)


def test_another_persons_item_does_not_exist(store: Store, http: TestClient, tmp_path: Path) -> None:
    token, other = join(store, http, Role.rater, "one"), client(store, tmp_path)
    their = join(store, other, Role.rater, "two")
    store.add_groups(groups(1), "compare")
    _, found = rate(http, token, "next")
    body = {"key": "k", "assignment": found["item"]["id"], "verdict": {"outcome": "skip"}}
    unknown = {**body, "assignment": "never"}
    assert rate(other, their, "submit", **body) == rate(other, their, "submit", **unknown)
    assert store.judgments() == []


def test_undo_brings_the_item_back(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    store.add_groups(groups(3), "compare")
    first = rate(http, token, "next")[1]["item"]
    second = rate(http, token, "next", held=[first["id"]])[1]["item"]
    assert first["id"] != second["id"]
    rate(http, token, "submit", key="k1", assignment=first["id"], verdict={"outcome": "both_bad"})
    back = rate(http, token, "undo", key="u1", held=[second["id"]])[1]["item"]
    assert back == first
    again = {"outcome": "ranked", "tiers": [[0, 1]], "strength": 0}
    assert rate(http, token, "submit", key="k2", assignment=first["id"], verdict=again)[0] == 200
    assert len(store.judgments()) == 3  # nothing is ever taken out


def test_the_guideline_is_read_before_work(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    store.add_groups(groups(1), "compare")
    version = store.add_guideline("**Be kind.**", "Rules")
    assert rate(http, token, "next")[1] == {"item": None, "wait": "guideline", "guideline": version}
    assert "<strong>Be kind.</strong>" in http.get("/guideline").text
    assert http.post("/guideline", data={"csrf": token, "version": "0" * 12}).status_code == 409
    assert http.post("/guideline", data={"csrf": token, "version": version}).status_code == 303
    assert rate(http, token, "next")[1]["item"]


def test_sign_in_is_throttled_and_says_the_same_for_every_name(store: Store, http: TestClient, tmp_path: Path) -> None:
    join(store, client(store, tmp_path), Role.rater, "one")
    token = token_in(http.get("/sign-in").text)
    pages = []
    for name in ("one", "nobody"):
        got = http.post("/sign-in", data={"csrf": token, "name": name, "password": "wrong"})
        assert got.status_code == 403
        pages.append(got.text.replace(f'"{name}"', ""))
    assert pages[0] == pages[1]
    statuses = [
        http.post("/sign-in", data={"csrf": token, "name": "one", "password": "wrong"}).status_code for _ in range(6)
    ]
    assert statuses[-1] == 429
    right = http.post("/sign-in", data={"csrf": token, "name": "one", "password": PASSWORD})
    assert right.status_code == 429


def test_signing_out_ends_the_session_on_the_server(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    session = http.cookies["assent_session"]
    assert http.post("/sign-out", data={"csrf": token}).status_code == 303
    http.cookies.set("assent_session", session)
    assert http.get("/work").status_code == 303


def test_an_invite_works_once(store: Store, http: TestClient, tmp_path: Path) -> None:
    token = join(store, http, Role.lead, "lead")
    page = http.post("/lead/people", data={"csrf": token, "role": "rater"}).text
    link = re.search(r'value="(http[^"]+/join/[^"]+)"', page)
    assert link
    path = link[1].split("8000", 1)[1]
    for expected in (303, 400):
        other = client(store, tmp_path)
        form = {"name": f"rater{expected}", "password": PASSWORD, "again": PASSWORD}
        csrf = token_in(other.get(path).text)
        assert other.post(path, data={**form, "csrf": csrf}).status_code == expected
    assert "/join/" not in http.get("/lead/people").text
    assert http.post("/lead/people", data={"csrf": token, "role": "owner"}).status_code == 400


def test_a_snapshot_goes_out_as_a_folder_and_as_a_zip(store: Store, http: TestClient, tmp_path: Path) -> None:
    import io
    import zipfile

    from assent.formats import read_preferences

    token = join(store, http, Role.lead, "lead")
    store.add_groups(groups(2), "compare")
    person = store.people()[0]
    given = store.next(person)
    store.submit(person, given.id, "k", Verdict(tiers=given.tiers([[0], [1]]), strength=1))  # type: ignore[union-attr]
    assert http.post("/lead/export", data={"csrf": token}).status_code == 303
    (folder,) = (tmp_path / "exports").iterdir()
    preferences = read_preferences(folder / "preferences")
    assert len(preferences.groups) == 2 and preferences.judgments == store.judgments()
    packed = http.get(f"/lead/export/{folder.name}.zip")
    names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
    assert f"{folder.name}/datasheet.json" in names
    everything = b"".join(p.read_bytes() for p in folder.rglob("*.json*"))
    assert b"lead" not in everything  # names stay here
    for wrong in ("..", "snapshot-1", "snapshot-20200101-000000", "%2e%2e%2ffeedback"):
        assert http.get(f"/lead/export/{wrong}.zip").status_code == 404


def test_the_screens_import_without_torch() -> None:
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'datasets'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import assent.web.app, assent.cli.serve\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
