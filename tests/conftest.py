"""Tests talk to nobody: a connection to anything but this machine fails the test that tries it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser_tools import browser

__all__ = ["browser"]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            pytest.fail(f"a test opened a connection to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of its own for a test of the store, on each kind."""
    from feedback_store import fresh_url

    with fresh_url(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def clock() -> Any:
    """A clock that tests move by hand."""
    from feedback_store import Clock

    return Clock()


@pytest.fixture
def store(url: str, clock: Any) -> Iterator[Any]:
    """A store in that database."""
    from feedback_store import open_store

    with open_store(url, clock) as opened:
        yield opened
