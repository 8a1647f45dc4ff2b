"""Single values of a row, checked: text, conversations, truth values, margins. DataError otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from assent.core.errors import DataError
from assent.core.records import Message

Turns = tuple[Message, ...]


def turns(value: Any, name: str) -> Turns:
    """A conversation from a list of {role, content}."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"`{name}` must be a list of {{role, content}}, not {value!r:.60}")
    if not value:
        raise DataError(f"`{name}` is an empty list")
    found = tuple(_turn(turn, f"{name}[{i}]") for i, turn in enumerate(value))
    check_system(found, name)
    return found


def check_system(turns: Turns, name: str) -> None:
    """Refuse what templates read differently: an empty system message, and one that is not the first turn."""
    for i, turn in enumerate(turns):
        if turn.role != "system":
            continue
        if i:
            what = "is a second system message" if turns[0].role == "system" else "is a system message after the start"
            raise DataError(f"`{name}[{i}]` {what}", fix="one system message, as the first turn: join their texts")
        if not turn.content.strip():
            raise DataError(
                f"`{name}[0]` is an empty system message",
                fix="take the turn out: then the template writes its default, where it has one",
            )


def _turn(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise DataError(f"`{name}` must be a message {{role, content}}, not {value!r:.60}")
    for key in value.keys() - {"role", "content"}:
        if value[key]:
            raise DataError(f"`{name}` has a key `{key}`, which is not supported", fix="role and content only")
    if value["role"] not in ("system", "user", "assistant"):
        raise DataError(f"`{name}` has the role {value['role']!r}", fix="roles are system, user and assistant")
    return Message(role=value["role"], content=text(value["content"], f"{name}.content"))


def text(value: Any, name: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise DataError(f"`{name}` must be text, not {value!r:.60}")
    return value


def check_unicode(row: dict[str, Any]) -> None:
    r"""Refuse half of a surrogate pair (JSON can spell one, "\ud800"): no file could take it back."""
    for name, value in row.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise DataError(f"`{name}` holds half of a Unicode surrogate pair") from None


def truth(value: Any, name: str) -> bool:
    """A truth value, given as one, as 0 or 1, or as text."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if (key := str(value).lower()) not in known:
        raise DataError(f"`{name}` must be true or false, not {value!r:.60}")
    return known[key]


def margin(value: Any) -> float:
    """A finite number, given as one or as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"`margin` must be a number, not {value!r:.60}")
    return number
