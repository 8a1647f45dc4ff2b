"""What is sent back: OpenAI's objects of chat and text completions, whole and in chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from assent.serving.codec import UNFINISHED, Codec
from assent.serving.jobs import Done, Piece

Json = dict[str, Any]


def event(body: Json) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


LAST = "data: [DONE]\n\n"
"""How a stream ends."""


def usage(prompt_tokens: int, done: Sequence[Done]) -> Json:
    """Tokens of the prompts, once each, and of all answers, with those that ended them."""
    written = sum(len(each.ids) for each in done)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
    }


class Reply:
    """The objects of one request, which share an id and a time. Subclasses know their endpoint's shapes."""

    prefix = whole_object = chunk_object = ""

    def __init__(self, model: str, codec: Codec) -> None:
        self._codec = codec
        self._head = {"id": f"{self.prefix}-{uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, done: Sequence[Done], prompt_tokens: int) -> Json:
        """The object of a reply that is not streamed; choices in the order of their indices."""
        choices = [
            {
                "index": each.choice,
                **self.content(each),
                "logprobs": None if each.logps is None else self.logprobs(each, each.logps),
                "finish_reason": each.finish,
            }
            for each in sorted(done, key=lambda each: each.choice)
        ]
        return {**self._head, "object": self.whole_object, "choices": choices, "usage": usage(prompt_tokens, done)}

    def opening(self, index: int) -> Json | None:
        """The chunk before a choice's first text, where there is one."""
        raise NotImplementedError

    def chunk(self, part: Piece | Done) -> Json:
        """More text of a choice, or its end."""
        text, finish = ("", part.finish) if isinstance(part, Done) else (part.text, None)
        return self._chunk(part.choice, self.delta(text), finish)

    def count(self, done: Sequence[Done], prompt_tokens: int) -> Json:
        """The chunk with the number of tokens."""
        return {**self._head, "object": self.chunk_object, "choices": [], "usage": usage(prompt_tokens, done)}

    def content(self, done: Done) -> Json:
        """A whole answer."""
        raise NotImplementedError

    def delta(self, text: str) -> Json:
        """A piece of an answer."""
        raise NotImplementedError

    def logprobs(self, done: Done, logps: Sequence[float]) -> Json:
        """Log-probs of an answer's tokens, without the one that ends it, under the distribution they were drawn from.

        A token that is a part of a character has no text of its own, and so no bytes here.
        """
        ids = done.ids[:-1] if done.ids[-1] in self._codec.stop else done.ids
        content = [
            {
                "token": token,
                "logprob": logp,
                "bytes": None if UNFINISHED in token else list(token.encode()),
                "top_logprobs": [],
            }
            for token, logp in zip(self._codec.pieces(ids), logps, strict=False)
        ]
        return {"content": content, "refusal": None}

    def _chunk(self, index: int, delta: Json, finish: str | None) -> Json:
        choice = {"index": index, **delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "object": self.chunk_object, "choices": [choice]}


class ChatReply(Reply):
    """chat.completion and chat.completion.chunk."""

    prefix, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def opening(self, index: int) -> Json | None:
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}, None)

    def content(self, done: Done) -> Json:
        return {"message": {"role": "assistant", "content": done.text, "refusal": None}}

    def delta(self, text: str) -> Json:
        return {"delta": {"content": text} if text else {}}


class TextReply(Reply):
    """text_completion, whole and in chunks."""

    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def opening(self, index: int) -> Json | None:
        return None

    def content(self, done: Done) -> Json:
        return {"text": done.text}

    def delta(self, text: str) -> Json:
        return {"text": text}
