"""Facts about a tokenizer: its fingerprint, whether it writes BOS, text to ids and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from assent.core.errors import DataError, ModelError
from assent.core.hashing import content_id
from assent.core.records import Prompt
from assent.data import chat

ANCHORS = ("a", ":", "\n", "0")
CONTEXT = 8
"""Prompt tokens in front of an answer's when it is decoded, so that a blank at its start is kept."""


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Id of how a tokenizer turns text into ids; padding, template and folder do not count.

    Two tokenizers with one fingerprint give the same ids, so sampled ids may pass between their models.
    """
    return _fingerprint(tokenizer, len(tokenizer))


@lru_cache(maxsize=16)
def _fingerprint(tokenizer: Any, size: int) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return content_id(type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id)
    parts = json.loads(backend.to_str())
    names = ("model", "normalizer", "pre_tokenizer", "added_tokens")
    return content_id([parts.get(name) for name in names], tokenizer.eos_token_id)


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text and nothing else: special tokens only where the text spells them out."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def writes_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts BOS in front of plain text."""
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer("a")["input_ids"][:1]) == [bos]


def end_of_turn(tokenizer: Any) -> int:
    """Id of the token that ends an assistant's turn: what a model writes last, and what sampling stops at.

    EOS, or where a template closes the turn with a token of its own and the whole conversation with EOS (Phi-3:
    <|end|>, then <|endoftext|>), the first of them: no answer that is followed by another turn has the second.
    """
    return _end_of_turn(tokenizer, str(tokenizer.chat_template or ""), tokenizer.eos_token_id)


@lru_cache(maxsize=16)
def _end_of_turn(tokenizer: Any, template: str, eos: int) -> int:
    prompt = Prompt.ask(chat.PROBE)
    try:
        text = chat.answer_text(tokenizer, prompt, chat.prompt_text(tokenizer, prompt), chat.PROBE)
    except ModelError:  # no template, or one at fault: whoever renders a conversation with it is told
        return eos
    (ids,) = text_ids(tokenizer, [text.partition(chat.PROBE)[2]])
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return next((token for token in ids if token in special), eos) if eos in ids else eos


def continuation_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that goes on after others, without what the tokenizer adds to the start of a string.

    Read off behind a character that does not merge with it.
    """
    for anchor in ANCHORS:
        head, both = text_ids(tokenizer, [anchor, anchor + text])
        if both[: len(head)] == head:
            return both[len(head) :]
    raise DataError(f"the tokenizer cannot encode {text[:40]!r} as the continuation of a prompt")


def decode_answer(tokenizer: Any, prompt: Prompt, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> str:
    """Text of sampled ids (without their stop token), so that rendering it again writes the same text.

    Decoding the ids alone would lose a blank at the start of a plain answer, and keep the one that the
    template itself puts before a conversational one.
    """
    between = "" if prompt.plain else chat.separator(tokenizer)
    if not prompt.plain and not between:
        return str(tokenizer.decode(list(answer_ids), skip_special_tokens=True))
    context = list(prompt_ids[-CONTEXT:])
    head = tokenizer.decode(context, skip_special_tokens=True)
    both = tokenizer.decode([*context, *answer_ids], skip_special_tokens=True)
    text = both[len(head) :] if both.startswith(head) else tokenizer.decode(list(answer_ids), skip_special_tokens=True)
    return str(text).removeprefix(between)
