"""The command `assent endpoint`: what it refuses before it loads anything, and one real server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch

import served
import tiny
from assent.cli.endpoint import KEY
from assent.models.load import save
from served import CHAT, ask, put_together, texts
from toy_run import assent

SECRET = "a-key-of-25-letters-or-so"
PATIENCE = 300
"""Seconds after which what does not come is taken to hang."""


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Message of a command that must not start."""
    code, said = assent("endpoint", "no/such/model", *arguments), capsys.readouterr()
    assert code == 2 and "Traceback" not in said.err and SECRET[:-10] not in said.err
    return " ".join(said.err.split())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_another_address_needs_a_key(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    said = refused(capsys, "--host", host, "--port", 0)
    assert "key is required" in said and "--api-key-file" in said


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 15, "has a blank in it, though long", "ключ-из-многих-букв", SECRET + "\n\nx"]
)
def test_a_weak_key_is_refused_wherever_it_comes_from(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    file = tmp_path / "key"
    file.write_text(key, encoding="utf-8")
    assert "is no key" in refused(capsys, "--api-key-file", file)
    monkeypatch.setenv(KEY, key)
    assert f"{KEY}: is no key" in refused(capsys)


def test_a_missing_key_file_and_a_busy_port_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none" in refused(capsys, "--api-key-file", tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "another --port" in refused(capsys, "--port", taken.getsockname()[1])


def test_a_model_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such model" in refused(capsys, "--port", 0)


def test_help_loads_neither_torch_nor_fastapi() -> None:
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'fastapi', 'uvicorn', 'starlette']));"
    )
    code = f"{blocked} sys.argv = ['assent', 'endpoint', '--help']; from assent.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--api-key-file" in done.stdout, done.stderr


@contextmanager
def serving(model: Path, *options: str, **environment: str) -> Iterator[str]:
    """Address of a real server; it must end well when told to."""
    command = [sys.executable, "-m", "assent", "endpoint", str(model), "--port", "0", "--name", served.NAME, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
    assert process.stderr
    try:
        said = process.stderr.readline()
        found = re.search(r"http://\S+/v1", said)
        assert found, said + process.stderr.read()
        yield found[0].removesuffix("/v1")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(PATIENCE) == 0 and not rest, rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_real_server_answers_streams_and_ends(tmp_path: Path) -> None:
    save(tmp_path / "model", tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    key = tmp_path / "key"
    key.write_text(SECRET + "\n")
    with serving(tmp_path / "model", "--api-key-file", str(key)) as address:
        assert httpx.get(f"{address}/healthz", timeout=PATIENCE).json()["status"] == "ok"
        assert httpx.post(address + CHAT, json=ask(), timeout=PATIENCE).status_code == 401
        with httpx.Client(base_url=address, headers={"authorization": f"Bearer {SECRET}"}, timeout=PATIENCE) as client:
            assert client.get("/v1/models").json()["data"][0]["id"] == served.NAME
            first = client.post(CHAT, json=ask(n=2)).json()
            assert texts(client.post(CHAT, json=ask(n=2)).json()) == texts(first)
            with client.stream("POST", CHAT, json=ask(n=2, stream=True)) as stream:
                pieces = "".join(stream.iter_text())
            assert [text for text, _ in put_together(pieces)] == texts(first)
            with client.stream("POST", CHAT, json=ask(stream=True) | {"max_tokens": 50}) as stream:
                assert json.loads(next(stream.iter_lines()).removeprefix("data: "))["object"] == "chat.completion.chunk"
            while client.get("/healthz").json() != {"status": "ok", "waiting": 0, "running": 0}:
                pass  # the client of the last stream has left
