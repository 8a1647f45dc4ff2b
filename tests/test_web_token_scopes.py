"""What a token may do: one to read alone changes nothing on any route of the API; older ones may what they could."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import text

from assent.feedback import database, tokens
from assent.feedback.errors import NotAllowed
from assent.feedback.records import Person, Role
from assent.feedback.store import Store
from assent.web.app import create_app
from assent.web.guard import SAFE_METHODS, TOKENS
from feedback_store import CHEAP, Clock, person
from web_tools import client, groups, join, open_store


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def lead(service: Store) -> Person:
    return person(service, "lead", Role.lead)


def routes(store: Store) -> list[tuple[str, str]]:
    """(method, path) of everything that takes tokens."""
    found = set()
    for route in create_app(store).routes:
        served = [route] if isinstance(route, APIRoute) else getattr(route, "effective_route_contexts", list)()
        found |= {(method, each.path) for each in served for method in each.methods or ()}
    return sorted((method, path) for method, path in found if path.startswith(TOKENS))


def test_each_route_asks_for_the_scope_it_needs(service: Store, lead: Person, tmp_path: Path) -> None:
    asked = routes(service)
    assert {method for method, _ in asked} == {"GET", "POST"} and len(asked) >= 7
    http = client(service, tmp_path)
    del http.headers["origin"]
    for scope in ("read", "write"):
        headers = {"authorization": f"Bearer {tokens.make(service, lead, scope, 1, scope)}"}  # type: ignore[arg-type]
        for method, path in asked:
            refused = http.request(method, path, headers=headers).status_code == 403
            assert refused == (scope == "read" and method not in SAFE_METHODS), (scope, method, path)


def test_a_token_to_read_adds_nothing_and_says_why(service: Store, lead: Person, tmp_path: Path) -> None:
    http = client(service, tmp_path)
    body = {"prompts": [{"messages": [{"role": "user", "content": "Write a line."}]}]}
    for scope, status, items in (("read", 403, 0), ("write", 200, 1)):
        headers = {"authorization": f"Bearer {tokens.make(service, lead, scope, 1, scope)}"}  # type: ignore[arg-type]
        got = http.post("/api/v1/groups", json=body, headers=headers)
        assert (got.status_code, service.progress().items) == (status, items), got.text
        assert ("may only read" in got.text) == (scope == "read")


def test_a_cookie_beside_a_token_to_read_opens_nothing_more(service: Store, lead: Person, tmp_path: Path) -> None:
    http = client(service, tmp_path)
    csrf = join(service, http, Role.lead, "other")
    headers = {"authorization": f"Bearer {tokens.make(service, lead, 'r', 1, 'read')}", "x-csrf-token": csrf}
    assert http.post("/api/v1/groups", json={}, headers=headers).status_code == 403


def test_the_page_makes_and_lists_scopes(service: Store, tmp_path: Path) -> None:
    http = client(service, tmp_path)
    csrf = join(service, http, Role.lead, "lead")
    form = {"csrf": csrf, "name": "nightly", "days": "30"}
    for more in ({"scope": "read"}, {"scope": "write"}, {}):
        assert http.post("/lead/access", data={**form, **more}).status_code == 200
    assert http.post("/lead/access", data={**form, "scope": "all"}).status_code == 400
    assert sorted(each.scope for each in tokens.listed(service)) == ["read", "read", "write"]
    cells = re.findall(r"<td>(read[^<]*)</td>", http.get("/lead/access").text)
    assert sorted(cells) == ["read", "read", "read, and add data"]
    assert [entry.what.split(" ", 1)[1] for entry in service.audit_log(3)] == [
        "nightly, read, 30 days",
        "nightly, write, 30 days",
        "nightly, read, 30 days",
    ]


def test_the_description_says_which_scope_a_route_needs(service: Store, lead: Person, tmp_path: Path) -> None:
    http: TestClient = client(service, tmp_path)
    headers = {"authorization": f"Bearer {tokens.make(service, lead, 't', 1, 'read')}"}
    found = http.get("/api/v1/openapi.json", headers=headers).json()
    assert "`read`" in found["components"]["securitySchemes"]["token"]["description"]
    needed = {
        (path, method): operation["security"]
        for path, methods in found["paths"].items()
        for method, operation in methods.items()
    }
    assert needed.pop(("/api/v1/groups", "post")) == [{"token": ["write"]}]
    assert needed and all(scopes == [{"token": ["read"]}] for scopes in needed.values())


def test_an_older_store_keeps_its_tokens_and_they_may_write(url: str, clock: Clock) -> None:
    """Its failed sign-ins go, and its items are as they were."""
    engine = database.open_engine(url, create=True, to="0001")
    with engine.begin() as db:
        db.execute(text("INSERT INTO attempts (name_hash, at) VALUES ('x', 1)"))
    with Store(engine, clock, CHEAP) as store:
        _older_token(store)
    with Store.open(url, create=True, clock=clock, hasher=CHEAP) as store:
        (token,) = tokens.listed(store)
        found = tokens.person_of(store, "assent_old", changes=True)
        assert token.scope == "write" and found is not None and found.name == "Ada"
        lead = found
        to_read = tokens.make(store, lead, "new", 1, "read")
        with pytest.raises(NotAllowed, match="only read"):
            tokens.person_of(store, to_read, changes=True)
        assert tokens.person_of(store, to_read) == lead
        assert store.progress().items == 2 and store.add_groups(groups(3), "compare")["added"] == 1
        assert store.sign_in("Ada", "a long password", "198.51.100.7")
        count = "SELECT count(*) FROM attempts"
        assert store.read(lambda db: db.execute(text(count)).scalar()) == 0


def test_an_older_backup_is_restored(url: str, clock: Clock, tmp_path: Path) -> None:
    with Store(database.open_engine(url, create=True, to="0001"), clock, CHEAP) as store:
        _older_token(store)
        store.backup(tmp_path / "old.jsonl.gz")
    Store.restore(tmp_path / "old.jsonl.gz", str(tmp_path / "new.db"))
    with Store.open(str(tmp_path / "new.db")) as store:
        assert store.progress().places == 4 and tokens.listed(store) == []


def _older_token(store: Store) -> None:
    lead = store.accept(store.invite(Role.lead, None), "Ada", "a long password")
    store.add_groups(groups(2), "compare", overlap=2)
    row = {"hash": tokens.digest("assent_old"), "person": lead.id, "end": 1e12}
    columns = "token_hash, id, person, name, created, expires"
    store.write(
        lambda db, now: db.execute(
            text(f"INSERT INTO tokens ({columns}) VALUES (:hash, 'old', :person, 'old', 1, :end)"), row
        )
    )
