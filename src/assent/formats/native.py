"""Our own records as JSON lines: prompts, demonstrations, groups, judgments, raters; told apart by keys."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from assent.core.errors import DataError
from assent.core.jsonl import describe
from assent.core.records import Demonstration, Group, Judgment, Prompt, Rater


def is_native(row: dict[str, Any]) -> bool:
    """Whether a row is one of our records: `format: 1`, or keys that no other shape has."""
    written = row.get("format") == 1 and not isinstance(row["format"], (bool, str))
    return written or isinstance(row.get("prompt"), dict) or {"group", "rater"} <= row.keys()


def parse(row: dict[str, Any]) -> Prompt | Demonstration | Group | Judgment | Rater:
    """The record in a row; the first thing wrong with it raises DataError."""
    kind = _kind(row)
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        raise DataError(f"is no {kind.__name__}: {describe(error)}", fix="docs/formats.md lists its keys") from None


def _kind(row: dict[str, Any]) -> type[Prompt | Demonstration | Group | Judgment | Rater]:
    if "answers" in row:
        return Group
    if "answer" in row:
        return Demonstration
    if "group" in row:
        return Judgment
    if "messages" in row:
        return Prompt
    if "kind" in row or row.keys() <= {"id", "format", "attributes"}:
        return Rater
    raise DataError(
        f"keys {', '.join(sorted(row))} are no record of ours",
        fix="docs/formats.md lists prompts, demonstrations, groups, judgments and raters",
    )
