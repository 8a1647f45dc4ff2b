"""JSON lines in and out: each bad row named by file, line and reason; writes are all or nothing."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from assent.core.errors import DataError

T = TypeVar("T", bound=BaseModel)

read_only = False
"""Whether this process leaves all writing to another one: every rank of a job but the first (engine/ranks.py)."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for every non-empty line of a .jsonl or .jsonl.gz file."""
    if path.is_dir():
        raise DataError("is a folder, but a JSON-lines file is needed", where=str(path))
    if not path.exists():
        raise DataError("no such file", where=str(path), fix="check the path; it is read from the current folder")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _parse(line, path, number)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"is not a UTF-8 JSON-lines file ({error})", where=str(path)) from None


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON: {error.msg} at column {error.colno}", where=f"{path}:{number}", fix="one JSON object per line"
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"a {type(row).__name__}, but each line must be a JSON object", where=f"{path}:{number}")
    return row


def read_records(path: Path, kind: type[T]) -> list[T]:
    """All rows of a file as records; the first bad row stops the reading."""
    records = []
    for number, row in read_rows(path):
        try:
            records.append(kind.model_validate(row))
        except ValidationError as error:
            raise DataError(
                describe(error), where=f"{path}:{number}", fix=f"each line must be a {kind.__name__}: docs/formats.md"
            ) from None
    return records


def describe(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def write_atomic(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """Write the whole file or nothing; an OSError names the file. `data` may be what writes it to a path.

    A device or a pipe (/dev/stdout) is written to, never replaced. A process that is `read_only` writes nothing.
    """
    if read_only:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            _put(path, data)
        else:
            _replace(path, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _put(path: Path, data: bytes | Callable[[Path], None]) -> None:
    if isinstance(data, bytes):
        path.write_bytes(data)
        return
    try:
        data(path)
    except Exception as error:  # on a full disk, libraries written in Rust raise exceptions of their own
        found = re.search(r"os error (\d+)", str(error))
        if not found:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from None


def _replace(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """A temporary file in the same folder, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _put(temporary, data)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """Write records as JSON lines, all or nothing; defaults are left out except `format`."""
    lines = []
    for record in records:
        row = record.model_dump(mode="json", exclude_defaults=True)
        lines.append(json.dumps({**row, "format": 1}, ensure_ascii=False) + "\n")
    write_atomic(path, "".join(lines).encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, all or nothing. NaN is refused: it is not JSON."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
