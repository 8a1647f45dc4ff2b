"""Rows and records as files: JSON lines, Parquet and CSV, conversations and plain text apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from assent.core.jsonl import write_atomic, write_records
from assent.core.records import Prompt
from assent.formats import csv_cells
from assent.formats.feedback import DEMONSTRATIONS, GROUPS, JUDGMENTS, RATERS, Feedback
from assent.formats.write import Row

Rows = Iterable[tuple[Prompt, Row]]
Files = Mapping[str, Sequence[Any]]
"""File name -> its rows, or its records."""
SCALARS = (str, bool, int, float)
TAKEN = {"prompt", "chosen", "rejected", "completion", "label", "messages", "text", "input", "question", "answer"} | {
    "margin", "weight", "prob", "group_id", "group", "rater", "answers", "format"
} | {"image", "images", "tools", "chat_template_kwargs", "preferred_output", "non_preferred_output"}  # fmt: skip
"""Column names that mean something to a reader: a tag of that name is no column."""


def of_rows(stem: str, rows: Rows, suffix: str, *, tags: bool) -> Files:
    """The files that rows go to. Conversations stand in STEM, plain text in STEM-text: one file must not mix the two.

    With `tags`, those tags of the prompts become columns that hold one kind of scalar in every row; TRL's trainers
    read over further columns, the services for fine-tuning refuse them.
    """
    chat: list[tuple[Prompt, Row]] = []
    plain: list[tuple[Prompt, Row]] = []
    for prompt, row in rows:
        (plain if prompt.plain else chat).append((prompt, row))
    return {
        name + suffix: _with_tags(some) if tags else [row for _, row in some]
        for name, some in ((stem, chat), (f"{stem}-text", plain))
        if some
    }


def of_records(feedback: Feedback) -> Files:
    """The files that our own records go to, one a kind; kinds without a record have no file.

    Preferences and demonstrations lie in folders of their own, as a store's snapshot has them: a recipe's step reads
    every file of the folder that it is given.
    """
    kinds: dict[str, Sequence[BaseModel]] = {
        f"preferences/{GROUPS}": feedback.groups,
        f"preferences/{JUDGMENTS}": feedback.judgments,
        f"preferences/{RATERS}": feedback.raters,
        f"demonstrations/{DEMONSTRATIONS}": feedback.demonstrations,
    }
    return {name: records for name, records in kinds.items() if records}


def write(folder: Path, files: Files) -> None:
    """Write files into a folder; how, their names and their rows say."""
    for name, rows in files.items():
        _put(folder / name, rows)


def lost_tags(prompts: Iterable[Prompt]) -> set[str]:
    """Tags that would be no columns: a name that is taken, values that are no scalars or differ in kind."""
    listed = list({prompt.id: prompt for prompt in prompts}.values())
    return {name for prompt in listed for name in prompt.tags} - _columns(listed)


def _columns(prompts: Sequence[Prompt]) -> set[str]:
    kinds: dict[str, set[type]] = {}
    for prompt in prompts:
        for name, value in prompt.tags.items():
            kinds.setdefault(name, set()).add(type(value))
    return {name for name, found in kinds.items() if len(found) == 1 and found <= {*SCALARS} and name not in TAKEN}


def _with_tags(rows: Sequence[tuple[Prompt, Row]]) -> list[Row]:
    names = sorted(_columns([prompt for prompt, _ in rows]))
    return [{**row, **{name: prompt.tags[name] for name in names if name in prompt.tags}} for prompt, row in rows]


def _put(path: Path, rows: Sequence[Any]) -> None:
    if isinstance(rows[0], BaseModel):
        write_records(path, rows)
    elif path.suffix == ".parquet":
        write_atomic(path, _as_parquet(rows))
    elif path.suffix == ".csv":
        write_atomic(path, csv_cells.to_text(rows).encode())
    else:
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        write_atomic(path, "".join(lines).encode())


def _as_parquet(rows: Sequence[Row]) -> Callable[[Path], None]:
    import pyarrow as arrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    def write(path: Path) -> None:
        # Columns that only later rows have must not be lost: the schema is taken from the first row.
        names = list(dict.fromkeys(name for row in rows for name in row))
        parquet.write_table(arrow.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), path)

    return write
