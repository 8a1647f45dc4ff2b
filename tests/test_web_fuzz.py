"""Hostile requests to every route that the application has: refused in a word, never a crash, never half a change.

The routes and the names of their fields are read from the application, so that a new route is tried without anybody
thinking of it. What is drawn is the same each time: the seed is fixed and printed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import inspect as look

from assent.core.records import Prompt
from assent.feedback import database
from assent.feedback.records import Queue, Role
from assent.feedback.store import Store
from feedback_store import fresh_url
from web_tools import HASHER, PASSWORD, client, groups, join, steady_draws

SEED = 20_261_121
COUNTED = {"attempts", "sessions", "audit"}
"""Tables that a refusal may add to: failed sign-ins are counted, and written down."""
HOSTILE = [
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202e\u200b",
    "-1",
    "1e999",
    "9" * 5000,
    "../../etc/passwd",
    "%00",
    "x" * 70_000,
]
HOSTILE += ["<script>alert(1)</script>", "' OR 1=1 --", "{{7*7}}", "NaN", "on", "0", "t", "lead", "compare"]

Endpoints = dict[tuple[str, str], set[str]]


class World:
    """A filled project with a lead signed in, and what its routes are called."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.http = store, client(store, folder)
        store.set_queue(Queue(gold=0, repeat=0))
        store.add_groups(groups(3), "compare", overlap=2)
        store.add_prompts([Prompt.ask("Write.")])
        self.token = join(store, self.http, Role.lead, "Ada")
        self.routes: Endpoints = dict(found(self.http.app))
        self.cookies = dict(self.http.cookies)

    def send(self, method: str, path: str, **more: Any) -> int:
        """The status of a request with everything in order but what is given."""
        before = self.state() if method == "POST" else ""
        headers = {"x-csrf-token": self.token, **more.pop("headers", {})}
        response = self.http.request(method, path, headers=headers, **more)
        assert response.status_code < 500, (method, path, response.text[:200])
        assert "Traceback" not in response.text and 'File "' not in response.text, (method, path)
        if method == "POST" and response.status_code >= 400:
            assert self.state() == before, (method, path, response.status_code)
        if path == "/sign-out" or self.store.person_of(self.cookies["assent_session"]) is None:
            self.sign_in()
        return response.status_code

    def sign_in(self) -> None:
        """A new session, where a request ended the one in use."""
        self.cookies["assent_session"] = self.store.sign_in("Ada", PASSWORD)
        self.http.cookies.clear()
        self.http.cookies.set("assent_session", self.cookies["assent_session"])
        shown = re.search(r'name="csrf" content="([0-9a-f]{64})"', self.http.get("/rate").text)
        assert shown
        self.token = shown[1]

    def state(self) -> str:
        """A digest of every row that a refused request must not change."""
        total = hashlib.sha256()
        with database.reading(self.store._engine) as db:
            for table in sorted(set(look(db).get_table_names()) - COUNTED):
                rows = sorted(map(repr, db.exec_driver_sql(f'SELECT * FROM "{table}"').all()))
                total.update(repr((table, rows)).encode("utf-8", "surrogatepass"))
        return total.hexdigest()


def found(app: Any) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """((method, path), names that the module of its route speaks of: fields, parameters)."""
    for route in app.routes:
        contexts = [route] if isinstance(route, APIRoute) else getattr(route, "effective_route_contexts", list)()
        for each in contexts:
            source = inspect.getsource(sys.modules[each.endpoint.__module__])
            names = {*re.findall(r'"(\w{1,20})"', source), *re.findall(r"^ +(\w{1,20}): ", source, re.MULTILINE)}
            for method in (each.methods or set()) - {"HEAD"}:
                yield (method, each.path), names - {"csrf"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        steady_draws(),
        fresh_url(request.param, folder) as url,
        Store.open(url, create=True, hasher=HASHER) as store,
    ):
        print(f"seed {SEED}")
        yield World(store, folder)


def posts(world: World) -> list[tuple[str, list[str]]]:
    found = [(path, sorted(names)) for (method, path), names in sorted(world.routes.items()) if method == "POST"]
    assert len(found) >= 10
    return found


texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
numbers = st.one_of(st.integers(), st.sampled_from([2**63, -(2**63), 10**400]), st.floats())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
FUZZ = settings(max_examples=50, deadline=None, print_blob=True, database=None, suppress_health_check=list(HealthCheck))


@seed(SEED)
@FUZZ
@given(data=st.data())
def test_no_body_crashes_a_route(world: World, data: st.DataObject) -> None:
    path, names = data.draw(st.sampled_from(posts(world)))
    fields = data.draw(st.dictionaries(st.sampled_from(names or ["a"]), values, max_size=6))
    at = path.format(token="t", name="n", id="i")
    if data.draw(st.booleans()):
        world.send("POST", at, content=json.dumps(fields), headers={"content-type": "application/json"})
    else:
        form = {name: _text(value) for name, value in fields.items()}
        world.send("POST", at, data=form)


def _text(value: object) -> str:
    said = value if isinstance(value, str) else json.dumps(value)
    return said.encode("utf-8", "replace").decode()


JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BODIES: dict[str, tuple[bytes, str]] = {
    "deep lists": (b"[" * 100_000, JSON),
    "deep objects": (b'{"held":' * 20_000 + b"1" + b"}" * 20_000, JSON),
    "deep in a field": (b'{"held":' + b"[" * 5000 + b"]" * 5000 + b"}", JSON),
    "long number": (b'{"key":' + b"9" * 10_000 + b"}", JSON),
    "no number": (b'{"key":"k","assignment":"a","verdict":{"outcome":"skip","visible_ms":NaN}}', JSON),
    "endless number": (b'{"key":"k","assignment":"a","verdict":{"outcome":"skip","visible_ms":1e999}}', JSON),
    "lone surrogate": (b'{"key":"k","assignment":"\\ud800","held":["\\ud800"],"group":"\\ud800"}', JSON),
    "NUL": (b'{"key":"k","assignment":"a\\u0000","held":["\\u0000"],"group":"\\u0000","chat":"\\u0000"}', JSON),
    "no UTF-8": (b'{"key":"\xff\xfe"}', JSON),
    "UTF-16": ('{"key":"k"}'.encode("utf-16"), JSON),
    "twice the same key": (b'{"key":"a","key":"b","held":[],"held":1}', JSON),
    "nothing": (b"", JSON),
    "a list": (b"[]", JSON),
    "half": (b'{"key":"k","assi', JSON),
    "as text": (b'{"held":[]}', "text/plain"),
    "as XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "application/xml"),
    "no type": (b"{}", ""),
    "form of NULs": (b"name=%00&text=%00&version=%00&role=%00&person=%00&group=%00&id=%00&kind=%00", FORM),
    "form, no UTF-8": (b"name=%ff&text=%fe&version=%ff&role=\xff&person=%ed%a0%80&id=%ed%a0%80", FORM),
    "form, same field often": (b"name=a&" * 40 + b"role=lead&role=rater", FORM),
    "form of many fields": (b"&".join(b"f%d=1" % n for n in range(5000)), FORM),
    "form of signs": (b"&" * 1000 + b"=" * 1000 + b"%" * 1000, FORM),
    "parts without boundary": (b"--x\r\n\r\n", "multipart/form-data"),
    "parts cut off": (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n',
        "multipart/form-data; boundary=x",
    ),
    "parts of files": (
        b'--x\r\nContent-Disposition: form-data; name="name"; filename="../../a"\r\n\r\nz\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
}  # fmt: skip


ON_BOTH = ("lone surrogate", "NUL", "no UTF-8", "form of NULs", "form, no UTF-8", "parts of files")
"""What databases differ about."""
TRIED = [*(("sqlite", what) for what in BODIES), *(("postgresql", what) for what in ON_BOTH)]


@pytest.mark.parametrize(("world", "what"), TRIED, indirect=["world"])
def test_malformed_bodies_are_refused_by_every_route(world: World, what: str) -> None:
    body, kind = BODIES[what]
    for path, _ in posts(world):
        at = path.format(token="t", name="n", id="i")
        status = world.send("POST", at, content=body, headers={"content-type": kind})
        if at.startswith("/api/") and what != "twice the same key":
            assert status >= 400 or kind == JSON, (what, at, status)


def test_bodies_over_the_limit_are_refused_with_a_length_or_without(world: World) -> None:
    big = 300 * 1024
    for path, _ in posts(world):
        at = path.format(token="t", name="n", id="i")
        if world.http.app.state.settings.limit(at) > big:  # type: ignore[attr-defined]
            continue
        for kind in (JSON, FORM):
            assert world.send("POST", at, content=b"a" * big, headers={"content-type": kind}) == 413, at
            pieces = (b"a" * 4096 for _ in range(big // 4096))
            status = world.send("POST", at, content=pieces, headers={"content-type": kind})
            assert status >= 400 or not at.startswith("/api/"), (at, status)  # some forms need no field, and read none
    for length in ("-1", "1e3", "0x10", " "):
        assert world.send("POST", "/api/next", content=b"{}", headers={"content-length": length}) == 400


def test_hostile_addresses_are_refused(world: World) -> None:
    """In the path and in every parameter that a module of routes speaks of."""
    tricks = ["%00", "%ed%a0%80", "..%2f..%2fetc%2fpasswd", "a" * 9000, "%0d%0aX-A:b"]
    for (method, path), names in sorted(world.routes.items()):
        if method != "GET":
            continue
        for trick in tricks:
            if "{" in path:
                world.send("GET", re.sub(r"\{\w+\}", trick, path))
            else:
                world.send("GET", f"{path}?" + "&".join(f"{name}={trick[:100]}" for name in sorted(names)))
    for path in (
        "//evil.example/",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%00",
        "/lead/../../etc/passwd",
    ):
        assert world.send("GET", path) in (303, 404), path
