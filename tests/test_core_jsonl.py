"""JSON lines: bad rows named by file, line and reason; writes whole or not at all."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
from pathlib import Path

import pytest

from assent.core.errors import DataError
from assent.core.jsonl import read_records, read_rows, write_atomic, write_json, write_records
from assent.core.records import Answer, Group, Judgment, Prompt, Rater

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON: Expecting property name"),
        ("{} {}", "not JSON: Extra data at column 4"),
        ("[1]", "a list, but each line must be a JSON object"),
        ("3", "a int, but each line"),
        ('"x"', "a str, but each line"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    with pytest.raises(DataError, match=re.escape(why)) as error:
        list(read_rows(path))
    assert error.value.where == f"{path}:3", "blank lines count"


def test_reading_stops_only_at_the_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\nnope\n')
    rows = read_rows(path)
    assert [next(rows), next(rows)] == [(1, {"a": 1}), (2, {"a": 2})]
    with pytest.raises(DataError, match=":3"):
        next(rows)


def test_what_is_no_file_of_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_rows(tmp_path))
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}\n')
    with pytest.raises(DataError, match="not a UTF-8"):
        list(read_rows(tmp_path / "latin.jsonl"))
    (tmp_path / "no.jsonl.gz").write_bytes(b'{"a": 1}\n')
    with pytest.raises(DataError, match="JSON-lines file"):
        list(read_rows(tmp_path / "no.jsonl.gz"))
    whole = gzip.compress(b'{"a": 1}\n' * 100)
    (tmp_path / "half.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="JSON-lines file"):
        list(read_rows(tmp_path / "half.jsonl.gz"))


def test_gzipped_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert list(read_rows(tmp_path / "x.jsonl.gz")) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"id": "r", "kind": "robot"}, "kind: Input should be"),
        ({"kind": "human"}, "id: Field required"),
        ({"id": "r", "colour": 1}, "colour: Extra inputs are not permitted"),
        ({"id": "r", "format": 2}, "format: Input should be 1"),
    ],
)
def test_bad_record_names_file_line_and_key(tmp_path: Path, row: object, why: str) -> None:
    path = tmp_path / "raters.jsonl"
    path.write_text(json.dumps({"id": "ok"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=re.escape(why)) as error:
        read_records(path, Rater)
    assert error.value.where == f"{path}:2"
    assert "Rater" in str(error.value.fix)


@pytest.mark.parametrize("messages", [["hi"], "hi", 5, {"role": "user"}, [{"role": "user"}], []])
def test_messages_of_a_wrong_shape_are_an_error_of_the_row(tmp_path: Path, messages: object) -> None:
    """Deriving the id must not come before the check."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(DataError, match="messages"):
        read_records(path, Prompt)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    prompt = Prompt.ask("wer bist du? \u2028 \U0001f600", system="s", subject="x", n=3, deep={"a": [1, None]})
    answers = (Answer.of(prompt, "a"), Answer.of(prompt, "b", token_ids=(1, 2), finish="length"))
    group = Group(prompt=prompt, answers=answers)
    judgment = Judgment(
        id="j", group=group.id, rater="r", tiers=((answers[1].id,), (answers[0].id,)), times={"read": 0.5}
    )
    write_records(tmp_path / "g.jsonl", [group])
    write_records(tmp_path / "j.jsonl", [judgment])
    assert read_records(tmp_path / "g.jsonl", Group) == [group]
    assert read_records(tmp_path / "j.jsonl", Judgment) == [judgment]
    assert '"format": 1' in (tmp_path / "j.jsonl").read_text()
    assert len((tmp_path / "g.jsonl").read_text().split("\n")) == 2, "one line, whatever the text holds"


def test_nan_is_not_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bin"
    write_atomic(path, b"old")

    def broken(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space") as error:
        write_atomic(path, b"new" * 1000)
    assert error.value.filename == str(path), "the message can say which file"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


def test_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as error:
        write_atomic(tmp_path / "file" / "x", b"x")
    assert error.value.filename == str(tmp_path / "file" / "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"], "no temporary file is left"


@pytest.mark.skipif(not FULL.is_char_device(), reason="needs /dev/full")
def test_a_device_is_written_to_not_replaced() -> None:
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(FULL, b"x" * 10)
    assert error.value.filename == "/dev/full"
    assert FULL.is_char_device()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomic(tmp_path / "pipe", b"hello")
        assert os.read(reader, 10) == b"hello"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
