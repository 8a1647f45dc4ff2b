"""Records to token ids, with the loss mask: which ids are the prompt's and which the answer's.

The mask comes from rendering twice: the prompt alone, then prompt and answer; the first must be a token
prefix of the second. What ends the turn (EOS, mostly) belongs to the answer, once, at its end; whatever a
template writes after it is cut.
A template writes BOS itself; plain text gets the BOS its tokenizer would give it. Answers that carry the
exact ids they were sampled with keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.markup import escape

from assent.core.errors import DataError, ModelError
from assent.core.records import Answer, Group, Prompt
from assent.data import chat
from assent.data.collate import TokenGroup
from assent.data.tokens import (
    continuation_ids,
    decode_answer,
    end_of_turn,
    text_ids,
    tokenizer_fingerprint,
    writes_bos,
)

__all__ = [
    "Encoded",
    "TokenGroup",
    "check_template",
    "decode_answer",
    "encode",
    "encode_groups",
    "encode_prompts",
    "highlight",
    "tokenizer_fingerprint",
]

Ids = tuple[int, ...]
PROBES = (chat.PROBE, "The answer is 4.", "a")


@dataclass(frozen=True)
class Encoded:
    """A prompt and one answer as token ids; the loss is on `answer_ids`, all of them."""

    prompt_ids: Ids
    answer_ids: Ids


def encode(tokenizer: Any, prompt: Prompt, answer: str) -> Encoded:
    """One prompt with one written answer. Raises ModelError, DataError as `encode_groups` does."""
    group = Group(prompt=prompt, answers=(Answer.of(prompt, answer),))
    (row,), _ = encode_groups([group], tokenizer)
    return Encoded(row.prompt_ids, row.answers[0])


def encode_prompts(prompts: Sequence[Prompt], tokenizer: Any) -> list[Ids]:
    """Token ids of each prompt, up to where an answer begins."""
    before = [chat.prompt_text(tokenizer, prompt) for prompt in prompts]
    return _prompt_ids(tokenizer, prompts, text_ids(tokenizer, before))


def encode_groups(
    groups: Sequence[Group],
    tokenizer: Any,
    max_length: int | None = None,
    too_long: Literal["error", "drop"] = "error",
) -> tuple[list[TokenGroup], int]:
    """Groups as token ids, and how many were dropped.

    A group one of whose answers makes a row longer than `max_length` tokens is dropped whole, or refused.
    Raises ModelError for a template that hides where the answer begins or writes no EOS, DataError for
    answers without a token, answers that spell out EOS, and rows that are too long.
    """
    before = [chat.prompt_text(tokenizer, group.prompt) for group in groups]
    heads = text_ids(tokenizer, before)
    prompt_ids = _prompt_ids(tokenizer, [group.prompt for group in groups], heads)
    answers = _answers(tokenizer, groups, before, heads)
    encoded = [
        TokenGroup(group.id, ids, ids_of_answers, tuple(answer.id for answer in group.answers))
        for group, ids, ids_of_answers in zip(groups, prompt_ids, answers, strict=True)
    ]
    return _fitting(encoded, max_length, too_long)


def check_template(tokenizer: Any, name: str = "tokenizer") -> None:
    """Refuse a chat template under which no answer could be told from its prompt, or none would end.

    `name` is what messages call the template from now on.
    """
    chat.set_name(tokenizer, name)
    prompt = Prompt.ask(chat.PROBE)
    before = chat.prompt_text(tokenizer, prompt)
    (head,) = text_ids(tokenizer, [before])
    _prompt_ids(tokenizer, [prompt], [head])
    for probe in PROBES:
        text = chat.answer_text(tokenizer, prompt, before, probe)
        (whole,) = text_ids(tokenizer, [before + text])
        if whole[: len(head)] != head:
            start = max(0, len(head) - 4)
            alone, within = head[start:], whole[start : len(head) + 1]
            shown = [str(tokenizer.convert_ids_to_tokens(ids)) for ids in (alone, within)]
            raise chat.not_a_prefix(tokenizer, *shown)
        _close(tokenizer, prompt, Answer.of(prompt, probe), whole[len(head) :])


def highlight(group: TokenGroup, tokenizer: Any) -> str:
    """The first answer's row as rich markup: prompt dim, trained tokens highlighted, specials spelt out."""
    whole = tokenizer.decode([*group.prompt_ids, *group.answers[0]], skip_special_tokens=False)
    prompt = tokenizer.decode(list(group.prompt_ids), skip_special_tokens=False)
    if not whole.startswith(prompt):
        whole = prompt + tokenizer.decode(list(group.answers[0]), skip_special_tokens=False)
    return f"[dim]{escape(prompt)}[/dim][black on green]{escape(whole[len(prompt) :])}[/black on green]"


def _prompt_ids(tokenizer: Any, prompts: Sequence[Prompt], heads: Sequence[list[int]]) -> list[Ids]:
    """Ids of the prompts' texts with BOS, checked."""
    bos = tokenizer.bos_token_id
    start = [bos] if writes_bos(tokenizer) else []
    found: list[Ids] = []
    for prompt, ids in zip(prompts, heads, strict=True):
        if prompt.plain:
            ids = [*start, *ids]
        elif bos is not None and ids[:2] == [bos, bos]:
            raise ModelError("it begins with BOS twice", where=chat.label(tokenizer), fix="write it once")
        # Even the first token of a text must follow something: BOS, or EOS where there is no BOS.
        found.append(tuple(ids) or (tokenizer.eos_token_id if bos is None else bos,))
    return found


def _answers(
    tokenizer: Any, groups: Sequence[Group], before: Sequence[str], heads: Sequence[list[int]]
) -> list[tuple[Ids, ...]]:
    """Ids of every group's answers: as sampled where that is known, otherwise from the rendered text."""
    mark = tokenizer_fingerprint(tokenizer)
    written = [
        (g, answer)
        for g, group in enumerate(groups)
        for answer in group.answers
        if answer.token_ids is None or answer.tokenizer != mark
    ]
    added = [chat.answer_text(tokenizer, groups[g].prompt, before[g], answer.text) for g, answer in written]
    wholes = text_ids(tokenizer, [before[g] + text for (g, _), text in zip(written, added, strict=True)])
    found: dict[tuple[int, str], Ids] = {}
    for (g, answer), text, whole in zip(written, added, wholes, strict=True):
        tail = _tail(tokenizer, groups[g].prompt, heads[g], whole, text)
        found[g, answer.id] = _close(tokenizer, groups[g].prompt, answer, tail)
    return [
        tuple(found[g, a.id] if (g, a.id) in found else _sampled(a, group) for a in group.answers)
        for g, group in enumerate(groups)
    ]


def _sampled(answer: Answer, group: Group) -> Ids:
    if not answer.token_ids:
        raise DataError(
            f"answer {answer.id} holds no token, so there is nothing to train on or to score",
            where=f"group {group.id}",
        )
    return answer.token_ids


def _tail(tokenizer: Any, prompt: Prompt, head: list[int], whole: list[int], text: str) -> list[int]:
    """Ids beyond the prompt's, where a template at fault is refused.

    An answer that merges with the prompt's last token all the same (it begins with a line break, say) gets
    the ids that a model would have to write after the prompt.
    """
    if whole[: len(head)] == head:
        return whole[len(head) :]
    if not prompt.plain:
        check_template(tokenizer, chat.name(tokenizer))
    return continuation_ids(tokenizer, text)


def _close(tokenizer: Any, prompt: Prompt, answer: Answer, tail: list[int]) -> Ids:
    """Cut after the end of the turn, which must be there once. An answer that was cut off has none, unless empty.

    A sampled text that spells it out ends there; nothing a policy writes may stop a run.
    """
    eos = tokenizer.eos_token_id
    end = eos if prompt.plain else end_of_turn(tokenizer)
    if prompt.plain:
        tail = [*tail, eos]
    ends = [i for i, token in enumerate(tail) if token in (end, eos)]
    sound = tail.count(end) == 1 and tail[ends[0]] == end
    if not sound and not (ends and answer.token_ids):
        raise _no_single_end(tokenizer, prompt, answer, tail, end)
    last = ends[0]
    return tuple(tail[:last] if answer.finish == "length" and last else tail[: last + 1])


def _no_single_end(tokenizer: Any, prompt: Prompt, answer: Answer, tail: list[int], end: int) -> DataError | ModelError:
    """Whose fault it is that an answer does not end exactly once: the text's, or the template's."""
    for token in tokenizer.convert_ids_to_tokens([tokenizer.eos_token_id, end]):
        if token in answer.text:
            return DataError(
                f"an answer holds the end-of-sequence token {token} as text",
                where=f"prompt {prompt.id}",
                fix="take it out: it is added to every answer",
            )
    return ModelError(
        f"it writes the end-of-sequence token {tokenizer.eos_token} {tail.count(tokenizer.eos_token_id)} times "
        "in an answer, not once",
        where=chat.label(tokenizer),
        fix="end assistant turns with {{ eos_token }}, or set eos_token to what ends them",
    )


def _fitting(groups: list[TokenGroup], max_length: int | None, too_long: str) -> tuple[list[TokenGroup], int]:
    lengths = [len(group.prompt_ids) + max(map(len, group.answers)) for group in groups]
    kept = [group for group, n in zip(groups, lengths, strict=True) if max_length is None or n <= max_length]
    dropped = len(groups) - len(kept)
    if dropped and too_long == "error":
        raise DataError(
            f"{dropped} of {len(groups)} rows are longer than {max_length} tokens, up to {max(lengths)}",
            fix="set `limits.too_long: drop` to leave them out, or a larger `limits.max_length`",
        )
    return kept, dropped
