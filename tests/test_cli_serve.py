"""`assent serve` as a new user starts it: a link once, one clear message for what cannot be, Ctrl-C to end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from assent.feedback.records import Role
from assent.feedback.store import Store
from feedback_store import port_for_later
from toy_run import assent
from web_tools import HASHER


@pytest.fixture
def port() -> Iterator[int]:
    with port_for_later() as found:
        yield found


def up(child: subprocess.Popen[str], port: int) -> None:
    """Return once the port answers."""
    while child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
    raise AssertionError("it ended before it listened")


def started(*options: object) -> tuple[str, int]:
    """What was said up to `Ctrl-C stops`, and the exit code after Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-m", "assent", "serve", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as child:
        assert child.stdout
        said = ""
        for line in child.stdout:
            said += line
            if "Ctrl-C stops" in line:
                up(child, int(str(options[options.index("--port") + 1])))
                child.send_signal(signal.SIGINT)
        return said, child.wait()


def test_the_first_start_gives_the_leads_link_and_later_ones_do_not(tmp_path: Path, port: int) -> None:
    db = tmp_path / "feedback.db"
    said, code = started("--db", db, "--port", port)
    assert code == 0 and "Traceback" not in said
    token = re.search(rf"http://127.0.0.1:{port}/join/(\S+)", said)
    assert token
    with Store.open(str(db), hasher=HASHER) as store:
        store.accept(token[1], "Ada", "a long password")
        assert [p.role for p in store.people()] == [Role.lead]
    said, code = started("--db", db, "--port", port)
    assert code == 0 and "/join/" not in said


def test_the_demonstration_names_three_people_and_leaves_nothing(tmp_path: Path, port: int) -> None:
    said, code = started("--demo", "--port", port)
    folder = re.search(r"sqlite:///(/\S+)/demo\.db", said)
    assert code == 0 and all(name in said for name in ("Ada", "Hana", "Bea", "Password"))
    assert folder and not Path(folder[1]).exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--host", "0.0.0.0"), "--public"),
        (("--public", "http://rate.example.org"), "https"),
        (("--public", "rate"), "no address"),
        (("--demo", "--db", "x.db"), "--demo"),
        (("--demo", "--public", "https://rate.example.org"), "--demo"),
        (("--endpoints", "none.yaml"), "none.yaml"),
        (("--db", "mysql://localhost/x"), "mysql"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_made(
    options: tuple[str, ...],
    named: str,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert assent("serve", *options, "--port", port) == 2
    said = capsys.readouterr()
    assert named in said.out + said.err and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert assent("serve", "--db", tmp_path / "a.db", "--port", taken.getsockname()[1]) == 2
    said = capsys.readouterr()
    assert "take another --port" in said.err and "/join/" not in said.out
