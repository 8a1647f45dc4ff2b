"""Text to ids and back, for several threads."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from assent.core.records import Prompt
from assent.data.render import decode_answer, encode_prompts
from assent.data.tokens import end_of_turn
from assent.models.load import context_length, stop_ids

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer writes for bytes that are no character, or none yet."""
TIDIED = 4
"""Characters at the end of a text that some tokenizers may still change when more follows: they take the blank
out of ` ,` and ` n't`."""


class Codec:
    """A model's tokenizer behind a lock: Hugging Face's refuse ("Already borrowed") to work for two threads at once."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._tokenizer, self._lock = tokenizer, Lock()
        self._open = TIDIED if getattr(tokenizer, "clean_up_tokenization_spaces", False) else 0
        self.stop = tuple(dict.fromkeys((*stop_ids(model, tokenizer), end_of_turn(tokenizer))))
        self.room = context_length(model)

    def encode(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Ids of each prompt, through the model's own chat template. Raises ModelError where that cannot write it."""
        with self._lock:
            return encode_prompts(prompts, self._tokenizer)

    def text(self, prompt: Prompt, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
        """Text of an answer, without the token that ends it."""
        body = ids[:-1] if ids and ids[-1] in self.stop else ids
        with self._lock:
            return decode_answer(self._tokenizer, prompt, prompt_ids, body)

    def tail(self, ids: Sequence[int]) -> str:
        """Text of an answer's last tokens."""
        with self._lock:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token by itself."""
        with self._lock:
            return [str(self._tokenizer.decode([token])) for token in ids]

    def settled(self, text: str) -> str:
        """The part of an unfinished answer's text that no further token can change."""
        text = text.rstrip(UNFINISHED)
        return text[: len(text) - self._open] if self._open else text
