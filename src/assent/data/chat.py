"""A prompt, and a prompt with its answer, as the text that is tokenised.

Plain prompts are joined to their answers bare. Conversations go through the tokenizer's chat template,
once with its generation prompt and once with the answer's turn: the answer is what the second has beyond
the first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from assent.core.errors import ModelError
from assent.core.records import Prompt

_NAMES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
PROBE = "Hello"
TAIL = 60
"""Characters of a text shown in messages."""
UNTOLD = "put the system message's text into the first user turn, or set another `template`"


def name(tokenizer: Any) -> str:
    """Under which name a tokenizer's chat template was attached."""
    return _NAMES.get(tokenizer, "tokenizer")


def label(tokenizer: Any) -> str:
    """What to call a tokenizer's chat template in messages."""
    return f"chat template `{name(tokenizer)}`"


def set_name(tokenizer: Any, given: str) -> None:
    """Remember under which name a template was attached."""
    _NAMES[tokenizer] = given


def prompt_text(tokenizer: Any, prompt: Prompt) -> str:
    """The text before an answer. Raises ModelError where the template cannot write it, or leaves a turn out."""
    if prompt.plain:
        return "".join(message.content for message in prompt.messages)
    text = _render(tokenizer, [message.model_dump() for message in prompt.messages], open_turn=True)
    for message in prompt.messages:
        # What the model said before may be shortened on purpose (its thoughts, by some); what it is told may not.
        if message.role != "assistant" and message.content.strip() not in text:
            raise ModelError(
                f"it leaves the {message.role} message out: {message.content[:TAIL]!r}",
                where=label(tokenizer),
                fix=UNTOLD if message.role == "system" else "set another `template`",
            )
    return text


def answer_text(tokenizer: Any, prompt: Prompt, before: str, answer: str) -> str:
    """The text an answer adds to `before`, the prompt's text: all the template writes from there on.

    A template may move the system message once an answer follows (Mistral 7B v0.3 writes it into a user's turn only
    if that is the last one). The answer then follows the prompt as it is sampled from, and its text is the one it
    has in the same conversation without that message.

    Raises ModelError where the template does not continue the prompt it gave before.
    """
    if prompt.plain:
        return answer
    turns = [message.model_dump() for message in prompt.messages]
    whole = _render(tokenizer, [*turns, {"role": "assistant", "content": answer}], open_turn=False)
    if not whole.startswith(before):
        if prompt.messages[0].role == "system" and len(turns) > 1:
            untold = Prompt(messages=prompt.messages[1:])
            return answer_text(tokenizer, untold, prompt_text(tokenizer, untold), answer)
        raise not_a_prefix(tokenizer, repr(before[-TAIL:]), repr(whole[max(0, len(before) - TAIL) : len(before)]))
    return whole[len(before) :]


def not_a_prefix(tokenizer: Any, alone: str, within: str) -> ModelError:
    """The error of a template whose prompt is no prefix of prompt and answer; both tails are shown."""
    return ModelError(
        "its prompt is no prefix of prompt and answer, so what the model writes cannot be told apart:\n"
        f"     the prompt alone ends in   {alone}\n"
        f"     with an answer it reads    {within}",
        where=label(tokenizer),
        fix="end the generation prompt with a line break or a special token, not with a blank",
    )


def separator(tokenizer: Any) -> str:
    """What the template writes between the generation prompt and an answer's text: a blank, or nothing."""
    return _separator(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=16)
def _separator(tokenizer: Any, template: str) -> str:
    prompt = Prompt.ask(PROBE)
    text = answer_text(tokenizer, prompt, prompt_text(tokenizer, prompt), PROBE)
    return text.partition(PROBE)[0]


def _render(tokenizer: Any, turns: list[dict[str, str]], *, open_turn: bool) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template, which conversations need",
            where=str(tokenizer.name_or_path),
            fix="set `template:` to plain, chatml or a Jinja file",
        )
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_turn))
    except Exception as error:  # a template is a user's program: it may raise anything
        roles = [turn["role"] for turn in turns]
        raise ModelError(
            f"cannot write a conversation of {', '.join(roles)}: {error}",
            where=label(tokenizer),
            fix=UNTOLD if "system" in roles else None,
        ) from None
