"""The command itself: instant help, exit codes, one message for whatever goes wrong with a file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

from assent.cli import main
from assent.core.errors import AssentError, Interrupted
from toy_run import assent

COMMANDS = ("demo", "run", "train", "sweep", "new", "show", "doctor", "chat", "sample", "score", "compare")
HEAVY = (
    "torch",
    "transformers",
    "fastapi",
    "datasets",
    "scipy",
    "matplotlib",
    "yaml",
    "tokenizers",
    "safetensors",
)

HELP = f"""
import sys
sys.argv = ["assent", "--help"]
from assent.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""


PRINT = """
import sys
import assent.cli.main as cli
cli.app = lambda **_: (print("a result"), sys.exit(0))
cli.main()
"""
"""A command that prints and ends well, as far as it knows."""


def print_to(file: IO[str]) -> subprocess.CompletedProcess[str]:
    """Run PRINT with its output, buffered as usual, going to `file`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", PRINT]
    return subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(main.app, [command, "--help"])
    assert shown.exit_code == 0
    assert command in shown.output


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("run",), ("run", "r.yaml", "--nonsense"), ("sample", "m", "p", "-n", "0"),
     ("demo", "--seed", "x"),     ("chat", "m", "--temperature", "-1")],
)  # fmt: skip
def test_what_is_no_command_line_is_exit_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert assent(*arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.strip()


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every command raise `error`."""

    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", app)


def test_errors_of_ours_are_printed_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No wrapping, no markup, no emoji: a path in a message can be copied."""
    where = "/a/[bold]very/" + "long/" * 40 + "path:on:x.jsonl:3"
    fails_with(AssentError("is [red] wrong", where=where, fix="mend it"), monkeypatch)
    assert assent("run") == 2
    assert capsys.readouterr().err == f"error: {where}: is [red] wrong\n  -> mend it\n"


def test_a_stop_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(Interrupted("stopped after step 3"), monkeypatch)
    assert assent("run") == 130
    said = capsys.readouterr().err
    assert said.startswith("stopped: stopped after step 3") and "error" not in said


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "cannot write /x/y: No space left on device\n  -> free some space"),
        (errno.EFBIG, "cannot write /x/y: File too large"),
        (errno.EDQUOT, "cannot write /x/y: Disk quota exceeded"),
        (errno.EACCES, "cannot use /x/y: Permission denied\n  -> check the path"),
        (errno.ENOTDIR, "cannot use /x/y: Not a directory"),
        (errno.EROFS, "cannot use /x/y: Read-only file system"),
    ],
)
def test_trouble_with_a_file_names_the_file(
    number: int, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(OSError(number, os.strerror(number), "/x/y"), monkeypatch)
    assert assent("run") == 2
    assert why in capsys.readouterr().err


def test_a_defect_of_ours_is_not_called_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for defect in (ZeroDivisionError("x"), OSError(errno.EBADF, "Bad file descriptor")):
        fails_with(defect, monkeypatch)
        with pytest.raises(type(defect)):
            assent("run")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_output_that_cannot_be_written() -> None:
    """What was printed is flushed before the end, so a full disk is not lost in the interpreter's exit."""
    with Path("/dev/full").open("w") as full:
        done = print_to(full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write the output: No space left on device")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_that_has_left_is_no_error() -> None:
    """`assent ... | head`: the rest of the output is dropped without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = print_to(gone)
    assert done.returncode == 1
    assert done.stderr == ""
