"""Failed sign-ins: guessing is slowed from one address and from many, and keeps nobody out who comes from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import text
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from assent.cli import serve
from assent.feedback.errors import NotAllowed, Throttled
from assent.feedback.people import ADDRESS_TRIES, NAME_TRIES, SLOW_TRIES, THROTTLE_SECONDS, THROTTLE_TRIES
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.web.app import create_app
from feedback_store import PASSWORD, Clock, person
from web_tools import ORIGIN, client, join, open_store, token_in

COMPOSE = Path(__file__).parent.parent / "deploy/compose.yaml"


def guesses(store: Store, name: str, address: str, n: int) -> None:
    """`n` wrong passwords that are looked at."""
    for _ in range(n):
        with pytest.raises(NotAllowed) as found:
            store.sign_in(name, "wrong password", address)
        assert not isinstance(found.value, Throttled)


def refused(store: Store, name: str, address: str) -> float:
    """Seconds to wait where not even the right password is looked at."""
    with pytest.raises(Throttled) as found:
        store.sign_in(name, PASSWORD, address)
    return found.value.wait


def test_a_stranger_elsewhere_keeps_nobody_out(store: Store) -> None:
    ada = person(store, "Ada")
    guesses(store, "ada", "198.51.100.7", THROTTLE_TRIES)
    assert refused(store, "Ada", "198.51.100.7") == THROTTLE_SECONDS
    assert store.person_of(store.sign_in("Ada", PASSWORD, "203.0.113.5")) == ada
    assert refused(store, "Ada", "198.51.100.7") == THROTTLE_SECONDS  # her signing in forgives him nothing


def test_many_strangers_are_slowed_and_keep_nobody_out(store: Store, clock: Clock) -> None:
    ada = person(store, "Ada")
    for k in range(NAME_TRIES // THROTTLE_TRIES):
        guesses(store, "Ada", f"198.51.100.{k}", THROTTLE_TRIES)
    for k in range(3):
        guesses(store, "Ada", f"192.0.2.{k}", SLOW_TRIES)
        assert refused(store, "Ada", f"192.0.2.{k}") == THROTTLE_SECONDS
    guesses(store, "Ada", "203.0.113.5", SLOW_TRIES - 1)  # a slip of her own
    assert store.person_of(store.sign_in("Ada", PASSWORD, "203.0.113.5")) == ada
    guesses(store, "Ben", "192.0.2.77", THROTTLE_TRIES)  # another name is as before
    clock.now += THROTTLE_SECONDS
    guesses(store, "Ada", "192.0.2.0", THROTTLE_TRIES)


def test_one_address_cannot_go_through_the_names(store: Store, clock: Clock) -> None:
    person(store, "Ada")
    for k in range(ADDRESS_TRIES):
        guesses(store, f"name {k}", "198.51.100.7", 1)
        clock.now += 1
    assert refused(store, "Ada", "198.51.100.7") == THROTTLE_SECONDS - ADDRESS_TRIES
    assert store.sign_in("Ada", PASSWORD, "198.51.100.8")


def test_a_team_behind_one_address_signs_in_without_end(store: Store) -> None:
    person(store, "Ada")
    for _ in range(ADDRESS_TRIES + 1):
        assert store.sign_in("Ada", PASSWORD, "198.51.100.7")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True),
        ("::ffff:198.51.100.7", "::ffff:198.51.100.8", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "testclient", False),
    ],
)
def test_what_one_subscriber_has_is_one_address(one: str, other: str, same: bool, store: Store) -> None:
    person(store, "Ada")
    guesses(store, "Ada", one, THROTTLE_TRIES)
    if same:
        assert refused(store, "Ada", other)
    else:
        assert store.sign_in("Ada", PASSWORD, other)


def test_no_address_is_kept_in_clear(store: Store) -> None:
    guesses(store, "Ada", "198.51.100.7", 1)
    rows = store.read(lambda db: db.execute(text("SELECT * FROM attempts")).all())
    assert len(rows) == 1 and "198" not in repr(rows)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


def statuses(http: TestClient, n: int, **headers: str) -> list[int]:
    token = token_in(http.get("/sign-in").text)
    form = {"csrf": token, "name": "one", "password": "wrong"}
    return [http.post("/sign-in", data=form, headers=headers).status_code for _ in range(n)]


def test_the_screen_tells_addresses_apart_and_believes_no_header(service: Store, tmp_path: Path) -> None:
    join(service, client(service, tmp_path), Role.rater, "one")
    app = create_app(service)
    here, there = (
        TestClient(app, base_url=ORIGIN, headers={"origin": ORIGIN}, client=(host, 1), follow_redirects=False)
        for host in ("198.51.100.7", "198.51.100.8")
    )
    assert statuses(here, 6) == [403] * 5 + [429]
    assert statuses(here, 1, **{"x-forwarded-for": "192.0.2.1"}) == [429]
    assert statuses(there, 1) == [403]


@pytest.mark.parametrize(("public", "believed"), [(None, False), ("https://rate.example.org", True)])
def test_only_with_a_proxy_is_its_header_believed(
    public: str | None, believed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[uvicorn.Config] = []

    class Server:
        def __init__(self, config: uvicorn.Config) -> None:
            made.append(config)

        def run(self, sockets: object) -> None:
            """Not at all."""

    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr(serve, "_listening", lambda *_: nullcontext())
    serve.serve(str(tmp_path / "a.db"), public=public, endpoints=None, exports=tmp_path / "exports")
    assert made[0].proxy_headers is believed


def test_the_proxy_of_the_deployment_is_believed_and_nobody_beyond_it() -> None:
    trusted = yaml.safe_load(COMPOSE.read_text())["services"]["web"]["environment"]["FORWARDED_ALLOW_IPS"]
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    for peer in ("172.18.0.3", "192.168.32.2", "203.0.113.1"):
        said = b"6.6.6.6, 198.51.100.7"  # what a client made up, and what the proxy saw
        scope: Any = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", said)]}
        asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    assert seen == ["198.51.100.7", "198.51.100.7", "203.0.113.1"]
