"""A prompt whose answers are asked for, and an answer that is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Literal, NamedTuple

from assent.core.records import Prompt
from assent.engine.generate import SPARE
from assent.serving.codec import Codec
from assent.serving.errors import ApiError

PART = 128
"""A text is decoded from its beginning, so a long one is decoded less often: each time it has grown by this share."""

Finish = Literal["stop", "length"]


class Piece(NamedTuple):
    """More text of a choice, by its index."""

    choice: int
    text: str


class Done(NamedTuple):
    """A choice is complete: its index, text, ids as sampled (what ended it included) and, where asked, log-probs."""

    choice: int
    text: str
    ids: tuple[int, ...]
    finish: Finish
    logps: tuple[float, ...] | None


class Failed(NamedTuple):
    """There will be no answer."""

    error: ApiError


Event = Piece | Done | Failed


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt, its answers and how they are drawn.

    `names` are the answers' ids: an answer's randomness depends on its name and on nothing else.
    `first` is the index of the first answer among the request's choices. `emit` takes events, from any thread.
    `gone` is set once nobody waits any more.
    """

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    names: tuple[str, ...]
    first: int
    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    stream: bool
    logprobs: bool
    emit: Callable[[Event], None]
    gone: Flag = field(default_factory=Flag)


class Row:
    """One answer of a job. It sees every token as it is drawn, and says when the answer ends."""

    def __init__(self, job: Job, number: int, codec: Codec) -> None:
        self._job, self._choice, self._codec = job, job.first + number, codec
        self._reach = max((len(string.encode()) for string in job.stop), default=0) + SPARE
        self._sent, self._read = "", 0
        self._done: Done | None = None

    def take(self, ids: Sequence[int]) -> bool:
        """Look at an answer that has one more token; whether it ends here."""
        if self._job.gone.is_set():
            return True
        finish = self._finish(ids)
        if finish:
            self._close(tuple(ids), finish)
        elif self._job.stream and len(ids) >= self._read + max(1, len(ids) // PART):
            self._read = len(ids)
            self._send(self._settled(ids))
        return finish is not None

    def tell(self, logps: tuple[float, ...]) -> None:
        """Hand out an answer that waits for its log-probs, which the sampler gives at its end."""
        if self._done and self._job.logprobs:
            self._job.emit(self._done._replace(logps=logps))

    def _finish(self, ids: Sequence[int]) -> Finish | None:
        if ids[-1] in self._codec.stop or self._stopped(ids):
            return "stop"
        return "length" if len(ids) >= self._job.max_tokens else None

    def _stopped(self, ids: Sequence[int]) -> bool:
        """Whether a stop string has appeared. Only the end is decoded: a token is at least a byte."""
        if not self._job.stop:
            return False
        short = len(ids) <= self._reach
        text = self._text(ids) if short else self._codec.tail(ids[-self._reach :])
        return any(string in text for string in self._job.stop)

    def _close(self, ids: tuple[int, ...], finish: Finish) -> None:
        text = self._text(ids)
        text = text[: min((at for string in self._job.stop if (at := text.find(string)) >= 0), default=None)]
        if self._job.stream:
            self._send(text)
        self._done = Done(self._choice, text, ids, finish, None)
        if not self._job.logprobs:
            self._job.emit(self._done)

    def _send(self, text: str) -> None:
        if len(text) > len(self._sent):
            self._job.emit(Piece(self._choice, text[len(self._sent) :]))
            self._sent = text

    def _settled(self, ids: Sequence[int]) -> str:
        """Text that may be sent: whole characters, and no beginning of a stop string."""
        text = self._codec.settled(self._text(ids))
        return text[: len(text) - max((_begun(text, string) for string in self._job.stop), default=0)]

    def _text(self, ids: Sequence[int]) -> str:
        return self._codec.text(self._job.prompt, self._job.prompt_ids, ids)


def _begun(text: str, string: str) -> int:
    """How many characters at the end of `text` begin `string`."""
    return next((n for n in range(min(len(string) - 1, len(text)), 0, -1) if text.endswith(string[:n])), 0)
