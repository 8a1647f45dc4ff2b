"""TRL's dataset shapes and our own, recognised row by row from the columns. Table: docs/formats.md.

    text                          -> Demonstration (empty prompt)
    messages                      -> Demonstration (last turn assistant) or Prompt (last turn user)
    prompt                        -> Prompt
    prompt, completion            -> Demonstration
    prompt, completion, label     -> Unpaired
    (prompt,) chosen, rejected    -> Pair, with `margin` where given; transcripts of HH-RLHF too
    input, preferred_output, ...  -> Pair, as OpenAI's preference fine-tuning has it
    question, answer              -> Demonstration, where the answer ends as GSM8K's do (`#### 72`)
    a tree of messages            -> several records, as Open-Assistant has it (`parse_all`)

Each is standard (strings) or conversational (lists of {role, content}). Every other column becomes a tag
of the prompt. A row that cannot be read raises DataError; the caller adds file and line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from assent.core.errors import DataError
from assent.core.hashing import content_id
from assent.core.records import Answer, Demonstration, Group, Judgment, Message, Prompt, Rater
from assent.formats import gsm8k, hh, native, open_assistant, values
from assent.formats.values import Turns

REFUSED = ("image", "images", "tools", "chat_template_kwargs")
"""Columns that change what the model sees and that are not supported: dropping them would be silent harm."""
OPENAI = ("preferred_output", "non_preferred_output")


class Pair(NamedTuple):
    """Two answers to a prompt, the better one first, and by how much where the file says so."""

    prompt: Prompt
    chosen: Answer
    rejected: Answer
    margin: float | None = None


class Unpaired(NamedTuple):
    """One answer and whether it was liked."""

    prompt: Prompt
    answer: Answer
    liked: bool


Item = Prompt | Demonstration | Pair | Unpaired | Group | Judgment | Rater


def parse(row: dict[str, Any]) -> Item:
    """One row (null columns left out) as the record its columns say it is."""
    values.check_unicode(row)
    if native.is_native(row):
        return native.parse(row)
    _check_supported(row)
    columns = row.keys()
    if {"input", "preferred_output", "non_preferred_output"} <= columns:
        return _openai(row)
    if {"chosen", "rejected"} <= columns:
        return _pair(row)
    if {"prompt", "completion"} <= columns:
        return _completion(row)
    if "messages" in columns:
        return _messages(row)
    if "text" in columns:
        return _text_row(row)
    if gsm8k.is_row(row):
        return gsm8k.parse(row)
    if "prompt" in columns:
        return _prompt(row["prompt"], _tags(row, "prompt"))
    raise DataError(
        f"columns {', '.join(sorted(columns)) or '(none)'} are no known shape",
        fix="name them as in docs/formats.md: prompt, completion, chosen, rejected, messages or text",
    )


def parse_all(row: dict[str, Any]) -> list[Item]:
    """One row as its records: several where it is a whole tree of messages."""
    if open_assistant.is_tree(row):
        values.check_unicode(row)
        return [*open_assistant.parse(row)]
    return [parse(row)]


def _check_supported(row: dict[str, Any]) -> None:
    for name in REFUSED:
        if row.get(name):
            raise DataError(f"column `{name}` is not supported", fix="text only: remove the column")


def _text_row(row: dict[str, Any]) -> Demonstration:
    """Plain text to model as a whole: its prompt is empty, its id its own (texts must split)."""
    text = values.text(row["text"], "text")
    if not text.strip():
        raise DataError("column `text` is empty")
    nothing = Message(role="text", content="")
    prompt = Prompt(id=content_id("text", text), messages=(nothing,), tags=_tags(row, "text"))
    return Demonstration(prompt=prompt, answer=Answer.of(prompt, text))


def _messages(row: dict[str, Any]) -> Demonstration | Prompt:
    turns, tags = values.turns(row["messages"], "messages"), _tags(row, "messages")
    if turns[-1].role != "assistant":
        return _prompt_of(turns, tags)
    prompt = _prompt_of(turns[:-1], tags)
    return Demonstration(prompt=prompt, answer=Answer.of(prompt, turns[-1].content))


def _completion(row: dict[str, Any]) -> Demonstration | Unpaired:
    labelled = "label" in row
    prompt = _prompt(row["prompt"], _tags(row, "prompt", "completion", *["label"] * labelled))
    answer = Answer.of(prompt, _answer(row["completion"], "completion", prompt))
    if labelled:
        return Unpaired(prompt, answer, values.truth(row["label"], "label"))
    return Demonstration(prompt=prompt, answer=answer)


def _pair(row: dict[str, Any]) -> Pair:
    tags = _tags(row, "prompt", "chosen", "rejected", "margin")
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise DataError("`chosen` and `rejected` must both be strings or both be lists of messages")
    if "prompt" in row and not _holds_conversation(row):
        prompt = _prompt(row["prompt"], tags)
        better, worse = _answer(chosen, "chosen", prompt), _answer(rejected, "rejected", prompt)
    elif isinstance(chosen, str) and not hh.is_transcript(chosen):
        start, better, worse = split_strings(values.text(chosen, "chosen"), values.text(rejected, "rejected"))
        prompt = _prompt(start, tags)
    else:
        turns, better, worse = split_turns(_dialogue(chosen, "chosen"), _dialogue(rejected, "rejected"))
        prompt = _prompt_of(turns, tags)
    # Equal texts need different ids, and share a tier later on: they make no pair.
    second = Answer.of(prompt, worse, index=int(better == worse))
    margin = values.margin(row["margin"]) if "margin" in row else None
    return Pair(prompt, Answer.of(prompt, better), second, margin)


def _openai(row: dict[str, Any]) -> Pair:
    """The prompt stands in `input`, each answer is a list of one assistant message; tools are not supported."""
    asked = row["input"]
    if not isinstance(asked, dict) or "messages" not in asked:
        raise DataError("`input` must be an object with a list `messages`")
    _check_supported(asked)
    columns = {name: value for name, value in row.items() if name not in ("input", *OPENAI)}
    better, worse = (row[name] for name in OPENAI)
    return _pair({**columns, "prompt": asked["messages"], "chosen": better, "rejected": worse})


def _holds_conversation(row: dict[str, Any]) -> bool:
    """Whether `chosen` repeats the conversation beside a `prompt` string, as UltraFeedback's files do."""
    chosen = row["chosen"]
    if not (isinstance(row["prompt"], str) and isinstance(chosen, list)):
        return False
    if any(turn.role == "user" and turn.content == row["prompt"] for turn in values.turns(chosen, "chosen")):
        return True
    raise DataError(
        "`prompt` is a string, but `chosen` a list of messages that does not hold it",
        fix="give both as strings or both as lists of {role, content}",
    )


def _dialogue(value: Any, name: str) -> Turns:
    return hh.to_messages(value) if isinstance(value, str) else values.turns(value, name)


def split_turns(chosen: Turns, rejected: Turns) -> tuple[Turns, str, str]:
    """Common leading turns, and the one assistant turn in which two conversations differ."""
    n = 0
    while n < min(len(chosen), len(rejected)) - 1 and chosen[n] == rejected[n]:
        n += 1
    for name, rest in (("chosen", chosen[n:]), ("rejected", rejected[n:])):
        if len(rest) != 1 or rest[0].role != "assistant":
            raise DataError(
                f"`{name}` must hold exactly one assistant turn from where the two conversations part "
                f"(turn {n + 1}), not: {', '.join(turn.role for turn in rest)}"
            )
    return chosen[:n], chosen[n].content, rejected[n].content


def split_strings(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Longest common beginning that ends before a space or line break, and the two answers, which keep it.

    A cut inside a word ("A: fo|ur", "A: fo|rty") would be read from the answers, not from the prompt.
    """
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    both = zip(chosen[: common + 1], rejected[: common + 1], strict=False)
    starts = [i for i, (a, b) in enumerate(both) if a.isspace() and b.isspace()]
    if not starts or not chosen[: starts[-1]].strip():
        raise DataError(
            "`chosen` and `rejected` do not begin with the same words, so the prompt is unknown",
            fix="give the prompt in a column `prompt`",
        )
    cut = starts[-1]
    while chosen[cut - 1].isspace():
        cut -= 1
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _prompt(value: Any, tags: dict[str, Any]) -> Prompt:
    if isinstance(value, str):
        if not values.text(value, "prompt").strip():
            raise DataError("the prompt is empty")
        return Prompt.of(value).model_copy(update={"tags": tags})
    return _prompt_of(values.turns(value, "prompt"), tags)


def _prompt_of(turns: Turns, tags: dict[str, Any]) -> Prompt:
    if not turns or turns[-1].role != "user":
        raise DataError(
            "a conversation must hold a user turn right before the answer"
            + (f", not one of role {turns[-1].role}" if turns else ""),
            fix="what the model said last is the answer: `completion`, or the last turn of `messages`",
        )
    return Prompt(messages=turns, tags=tags)


def _answer(value: Any, name: str, prompt: Prompt) -> str:
    if isinstance(value, str) != prompt.plain:
        raise DataError(f"`prompt` and `{name}` must both be strings or both be lists of messages")
    if prompt.plain:
        return values.text(value, name)
    turns = values.turns(value, name)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise DataError(f"`{name}` must be one assistant turn, not: {', '.join(turn.role for turn in turns)}")
    return turns[0].content


def _tags(row: dict[str, Any], *used: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in used}
