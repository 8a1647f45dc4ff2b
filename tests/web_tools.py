"""A service for tests: a store in a temporary folder, people with sessions, a server that a browser can reach."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis.internal.conjecture import providers

from assent.core.records import Answer, Group, Prompt
from assent.feedback.records import Queue, Role
from assent.feedback.store import Store
from assent.web.app import create_app
from assent.web.endpoints import Client
from assent.web.figures import Figures
from assent.web.settings import Settings

ORIGIN = "http://localhost:8000"
PASSWORD = "a long password"
CHROMIUM = Path("/usr/bin/chromium")
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def open_store(folder: Path, clock: Callable[[], float] = time.time) -> Store:
    """An empty store whose queue hands out plain items only, in order."""
    store = Store.open(str(folder / "feedback.db"), create=True, clock=clock, hasher=HASHER)
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    return store


def groups(n: int, answers: int = 2, say: str = "Question") -> list[Group]:
    """`n` prompts with `answers` answers each."""
    made = []
    for i in range(n):
        prompt = Prompt.ask(f"{say} {i}?")
        texts = [f"Answer {k} to {say.lower()} {i}." for k in range(answers)]
        made.append(Group(prompt=prompt, answers=tuple(Answer.of(prompt, t, index=k) for k, t in enumerate(texts))))
    return made


def application(store: Store, folder: Path, models: Client | None = None, **settings: Any) -> FastAPI:
    """The service; its figures take no time by their clock, so that none rests because a machine is slow."""
    app = create_app(store, Settings(exports=folder / "exports", **settings), models)
    app.state.figures = Figures(store, lambda: 0.0)
    return app


def client(store: Store, folder: Path, **settings: Any) -> TestClient:
    """A browser without scripts: keeps cookies, sends Origin, follows no redirect."""
    app = application(store, folder, **settings)
    return TestClient(app, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False)


def token_in(page: str) -> str:
    """The CSRF token of a page."""
    found = re.search(r'<meta name="csrf" content="([0-9a-f]{64})">', page)
    assert found
    return found[1]


def join(store: Store, http: TestClient, role: Role, name: str) -> str:
    """Join by an invite; the CSRF token of the session."""
    link = f"/join/{store.invite(role, None)}"
    form = {"name": name, "password": PASSWORD, "again": PASSWORD, "csrf": token_in(http.get(link).text)}
    assert http.post(link, data=form).status_code == 303
    return token_in(http.get("/work").text)


@contextmanager
def steady_draws() -> Iterator[None]:
    """Hypothesis also draws constants out of what happens to be imported, and so by the tests that ran before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", providers.Constants)
        providers.CONSTANTS_CACHE.cache.clear()
        yield
        providers.CONSTANTS_CACHE.cache.clear()


@contextmanager
def serving(store: Store, folder: Path, models: Client | None = None, **settings: Any) -> Iterator[str]:
    """The service on a free port of 127.0.0.1; its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who comes before the server runs waits, and is not refused
        port = listener.getsockname()[1]
        app = application(store, folder, models, port=port, **settings)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive(), "a request never ended"
