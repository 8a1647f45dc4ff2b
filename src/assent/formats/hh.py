r"""Transcripts of Anthropic's HH-RLHF: "\n\nHuman: ...\n\nAssistant: ..." to turns and back.

Source: Bai et al. 2022 (arXiv 2204.05862), github.com/anthropics/hh-rlhf. A few real transcripts hold a
marker where the other speaker's turn is due (the model wrote it itself): it is part of the turn's text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from assent.core.errors import DataError
from assent.core.records import Message

MARKER = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def is_transcript(text: str) -> bool:
    """Whether a string begins like a transcript."""
    return text.startswith("\n\nHuman:")


def to_messages(text: str) -> tuple[Message, ...]:
    """Alternating user and assistant turns of a transcript, the one space after each colon taken off."""
    if not is_transcript(text):
        raise DataError("a transcript must begin with '\\n\\nHuman:'")
    marks: list[tuple[int, int]] = []
    for mark in MARKER.finditer(text):
        if mark[1] == ("Human", "Assistant")[len(marks) % 2]:
            marks.append(mark.span())
    ends = [start for start, _ in marks[1:]] + [len(text)]
    spoken = [text[after:end].removeprefix(" ") for (_, after), end in zip(marks, ends, strict=True)]
    return tuple(Message(role="assistant" if i % 2 else "user", content=content) for i, content in enumerate(spoken))


def to_text(messages: Sequence[Message]) -> str:
    """The transcript of user and assistant turns: the inverse of `to_messages`."""
    for message in messages:
        if message.role not in SPEAKERS:
            raise DataError(f"a transcript has no place for a turn of role `{message.role}`")
    return "".join(f"\n\n{SPEAKERS[m.role]}: {m.content}" for m in messages)
