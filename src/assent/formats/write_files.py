"""Rows and records as files: JSON lines and Parquet, conversations and plain text apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from assent.core.jsonl import write_atomic, write_records
from assent.core.records import Prompt
from assent.formats.feedback import DEMONSTRATIONS, GROUPS, JUDGMENTS, RATERS, Feedback
from assent.formats.write import Row

Rows = Iterable[tuple[Prompt, Row]]
SCALARS = (str, bool, int, float)
TAKEN = {"prompt", "chosen", "rejected", "completion", "label", "messages", "text", "input", "question", "answer"} | {
    "margin", "weight", "prob", "group_id", "group", "rater", "answers", "format"
} | {"image", "images", "tools", "chat_template_kwargs", "preferred_output", "non_preferred_output"}  # fmt: skip
"""Column names that mean something to a reader: a tag of that name is no column."""


def write_rows(folder: Path, stem: str, rows: Rows, *, parquet: bool, tags: bool) -> dict[str, int]:
    """File name -> rows. Conversations go to STEM, plain text to STEM-text: one file must not mix the two.

    With `tags`, those tags of the prompts become columns that hold one kind of scalar in every row; TRL's trainers
    read over further columns, the services for fine-tuning refuse them.
    """
    chat: list[tuple[Prompt, Row]] = []
    plain: list[tuple[Prompt, Row]] = []
    for prompt, row in rows:
        (plain if prompt.plain else chat).append((prompt, row))
    written = {}
    for name, some in ((stem, chat), (f"{stem}-text", plain)):
        if some:
            path = folder / (name + (".parquet" if parquet else ".jsonl"))
            _put(path, _with_tags(some) if tags else [row for _, row in some])
            written[path.name] = len(some)
    return written


def write_native(folder: Path, feedback: Feedback) -> dict[str, int]:
    """File -> records, one file a kind; kinds without a record have no file.

    Preferences and demonstrations lie in folders of their own, as a store's snapshot has them: a recipe's step reads
    every file of the folder that it is given.
    """
    kinds: list[tuple[str, Sequence[Any]]] = [
        (f"preferences/{GROUPS}", feedback.groups),
        (f"preferences/{JUDGMENTS}", feedback.judgments),
        (f"preferences/{RATERS}", feedback.raters),
        (f"demonstrations/{DEMONSTRATIONS}", feedback.demonstrations),
    ]
    for name, records in kinds:
        if records:
            write_records(folder / name, records)
    return {name: len(records) for name, records in kinds if records}


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


def _put(path: Path, rows: list[Row]) -> None:
    if path.suffix == ".parquet":
        write_atomic(path, _as_parquet(rows))
    else:
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        write_atomic(path, "".join(lines).encode())


def _as_parquet(rows: list[Row]) -> Callable[[Path], None]:
    import pyarrow as arrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    def write(path: Path) -> None:
        # Columns that only later rows have must not be lost: the schema is taken from the first row.
        names = list(dict.fromkeys(name for row in rows for name in row))
        parquet.write_table(arrow.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), path)

    return write
