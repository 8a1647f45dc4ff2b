"""Where a dataset comes from: a file, a folder of files, or a hub id. Rows, each with its place."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from assent.core import jsonl
from assent.core.errors import DataError
from assent.formats import csv_cells

ABOUT = "datasheet.json"
"""What an export says about itself: in a folder it stands beside the rows and is none."""
KINDS = (".jsonl", ".json", ".csv", ".parquet")
HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<config>[\w.-]+))?(#(?P<split>[\w.-]+))?")


class Row(NamedTuple):
    """One row: where it stands (`file:line`), for messages, and its columns; null columns are left out."""

    where: str
    columns: dict[str, Any]


def read(source: str | Path) -> Iterator[Row]:
    """Rows of a .jsonl, .json, .csv (each also .gz) or .parquet file, a folder of them, or a hub id.

    A hub id is `owner/name`, with a configuration and a split where needed: `owner/name:main#test`
    (the split is `train` by default). Raises DataError with place and reason for whatever cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        rows = _folder(path)
    elif path.exists() or not (hub := _hub_id(str(source))):
        rows = _file(path)
    else:
        rows = _hub(hub)
    for where, columns in rows:
        yield Row(where, {name: value for name, value in columns.items() if value is not None})


def _kind(path: Path) -> str | None:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in KINDS else None


def _file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        raise DataError(
            "no such file",
            where=str(path),
            fix="check the path, or give a Hugging Face hub id like `owner/name`",
        )
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    kind = _kind(path)
    if kind is None:
        raise DataError(
            "is no kind of file that can be read",
            where=str(path),
            fix=f"one of {', '.join(KINDS)} (all but .parquet also with .gz)",
        )
    yield from readers[kind](path)


def _folder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        yield from _saved(path)
        return
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and _kind(p) and not _hidden(p, path)]
    if not files:
        raise DataError(f"holds no {', '.join(KINDS)} file", where=str(path))
    for file in files:
        yield from _file(file)


def _hidden(path: Path, root: Path) -> bool:
    return path.name == ABOUT or any(part.startswith(".") for part in path.relative_to(root).parts)


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in jsonl.read_rows(path):
        yield f"{path}:{number}", row


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSON list of objects; a file of JSON lines under this name is read as such."""
    try:
        with _open(path) as file:
            value = json.load(file)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            yield from _jsonl(path)
            return
        raise DataError(f"not JSON: {error.msg} at column {error.colno}", where=f"{path}:{error.lineno}") from None
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"is not a UTF-8 JSON file ({error})", where=str(path)) from None
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise DataError("must hold a list of objects", where=str(path))
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"a {type(row).__name__}, but each row must be an object", where=f"{path}: row {number}")
        yield f"{path}: row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Comma-separated with a header line; an empty cell is a missing value. Our own cells: `formats.csv_cells`."""
    try:
        with _open(path) as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(
                        f"the header has {len(reader.fieldnames or ())} cells, this row has not",
                        where=where,
                        fix="put cells that hold commas or line breaks in double quotes",
                    )
                yield where, csv_cells.from_cells(row)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        raise DataError(f"is not a UTF-8 CSV file ({error})", where=str(path)) from None


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as arrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except arrow.ArrowException as error:
        raise DataError(f"is not a Parquet file ({_first_line(error)})", where=str(path)) from None


def _open(path: Path) -> IO[str]:
    """Text of a plain or gzipped file; a byte-order mark (spreadsheets write one) is skipped."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _hub_id(source: str) -> re.Match[str] | None:
    """`source` as a hub id, unless it can only be a path."""
    return None if _kind(Path(source)) else HUB_ID.fullmatch(source)


def _hub(hub: re.Match[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    import datasets
    from huggingface_hub.utils import logging

    # Its log of retries would drown the one message below.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    name, split = hub["name"], hub["split"] or "train"
    try:
        table = datasets.load_dataset(name, hub["config"], split=split)
    except Exception as error:  # whatever the hub client raises, the user can do the same about it
        raise DataError(
            f"is no local file or folder, and the hub did not give its split `{split}`: {_first_line(error)}",
            where=name,
            fix="check the id and the network, or give a local copy with `data=PATH`",
        ) from None
    for number, row in enumerate(table, 1):
        yield f"{hub[0]}: row {number}", dict(row)


def _saved(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A folder that `datasets` wrote with `save_to_disk`; of several splits, all."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DataError(f"is not a saved dataset ({_first_line(error)})", where=str(path)) from None
    for split, table in saved.items() if isinstance(saved, datasets.DatasetDict) else [("", saved)]:
        for number, row in enumerate(table, 1):
            yield f"{path}: {split} row {number}".replace(":  ", ": "), dict(row)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
