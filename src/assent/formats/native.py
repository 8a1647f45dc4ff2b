"""Our own records as JSON lines: prompts, demonstrations, groups, judgments, raters; told apart by keys."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from assent.core.errors import DataError
from assent.core.jsonl import describe
from assent.core.records import TEXT, Demonstration, Group, Judgment, Prompt, Rater
from assent.formats import values


def is_native(row: dict[str, Any]) -> bool:
    """Whether a row is one of our records: `format: 1`, or keys that no other shape has."""
    written = row.get("format") == 1 and not isinstance(row["format"], (bool, str))
    return written or isinstance(row.get("prompt"), dict) or {"group", "rater"} <= row.keys()


def parse(row: dict[str, Any]) -> Prompt | Demonstration | Group | Judgment | Rater:
    """The record in a row; the first thing wrong with it raises DataError."""
    kind = _kind(row)
    try:
        record = kind.model_validate(row)
    except ValidationError as error:
        raise DataError(f"is no {kind.__name__}: {describe(error)}", fix="docs/formats.md lists its keys") from None
    if not isinstance(record, (Judgment, Rater)):
        _check_prompt(record if isinstance(record, Prompt) else record.prompt)
    return record


def _check_prompt(prompt: Prompt) -> None:
    """A prompt is one plain text, or turns after which the model speaks."""
    roles = [message.role for message in prompt.messages]
    if TEXT in roles:
        if len(roles) > 1:
            raise DataError(f"a message of role `{TEXT}` stands alone, not among {', '.join(roles)}")
        return
    values.check_system(prompt.messages, "messages")
    if roles[-1] != "user":
        raise DataError(
            f"the prompt ends with the turn of role {roles[-1]}, so it asks nothing",
            fix="end it with a user turn; what the model said last is the answer",
        )


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
