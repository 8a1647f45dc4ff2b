"""What changed between two texts: whole lines, and inside lines that were changed the words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

CONTEXT = 1
"""Unchanged lines that are shown beside a change."""
MOST_WORDS = 250_000
"""Words of one side times words of the other, above which lines are shown as taken out and put in."""
Mark = Literal["same", "ins", "del"]


@dataclass(frozen=True)
class Line:
    """One line: its parts, each with whether it stayed, came or went. `gap`: lines before it are left out."""

    parts: tuple[tuple[Mark, str], ...]
    gap: bool = False


def changes(old: str, new: str) -> list[Line]:
    """The lines that differ with their neighbours; empty where the texts are equal."""
    before, after = old.splitlines(), new.splitlines()
    lines: list[Line] = []
    end = 0
    for group in SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT):
        gap = group[0][1] > end
        for tag, i, i_end, j, j_end in group:
            found = _lines(tag, before[i:i_end], after[j:j_end])
            lines += [Line(line.parts, gap and k == 0) for k, line in enumerate(found)]
            gap, end = False, i_end
    return lines


def _lines(tag: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    if tag == "equal":
        yield from (Line((("same", line),)) for line in after)
        return
    paired = min(len(before), len(after))
    yield from (Line(tuple(words(old, new))) for old, new in zip(before[:paired], after[:paired], strict=True))
    yield from (Line((("del", line),)) for line in before[paired:])
    yield from (Line((("ins", line),)) for line in after[paired:])


def words(old: str, new: str) -> list[tuple[Mark, str]]:
    """What changed inside a line, by words; a line that shares nothing is taken out and put in whole."""
    before, after = re.findall(r"\s+|\S+", old), re.findall(r"\s+|\S+", new)
    whole: list[tuple[Mark, str]] = [("del", old), ("ins", new)]
    if len(before) * len(after) > MOST_WORDS:
        return whole
    matcher = SequenceMatcher(lambda word: word.isspace(), before, after)
    parts: list[tuple[Mark, str]] = []
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            parts.append(("same", "".join(after[j:j_end])))
            continue
        parts += [("del", "".join(before[i:i_end]))] if i_end > i else []
        parts += [("ins", "".join(after[j:j_end]))] if j_end > j else []
    return parts if any(mark == "same" and text.strip() for mark, text in parts) else whole
