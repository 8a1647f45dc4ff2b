r"""Chat templates: the model's own, two built in, or a Jinja file; set on the tokenizer and saved with it.

`plain` writes a conversation as a transcript, "\n\nHuman: ...\n\nAssistant: ...", EOS after each assistant
turn. `chatml` is ChatML with the tokenizer's own EOS as end of turn, so no token has to be added. The
generation prompt of `plain` ends at the colon: a blank there would be merged into the answer's first token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assent.core.errors import ModelError
from assent.data.render import check_template
from assent.data.tokens import writes_bos

TOKENIZER = "tokenizer"

PLAIN = r"""
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {{- '\n\nHuman: ' + message.content -}}
    {%- elif message.role == 'assistant' -%}
        {{- '\n\nAssistant: ' + message.content + eos_token -}}
    {%- elif message.role == 'system' -%}
        {{- '\n\n' + message.content -}}
    {%- else -%}
        {{- message.content -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '\n\nAssistant:' -}}
{%- endif -%}
"""

CHATML = r"""
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\n' + message.content + eos_token + '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""

BUILT_IN = {"plain": PLAIN, "chatml": CHATML}


def attach_template(tokenizer: Any, name: str | Path = TOKENIZER) -> None:
    """Set `tokenizer.chat_template`, so that plain `transformers` renders the same; checked at once.

    `name`: `tokenizer` (the one it has), `plain`, `chatml`, or the path of a Jinja file. Raises ModelError
    for a missing template, a broken one, or one whose prompts are no prefix of prompt and answer.
    """
    label = str(name)
    if label == TOKENIZER:
        if not tokenizer.chat_template:
            raise ModelError(
                "its tokenizer has no chat template",
                where=str(tokenizer.name_or_path),
                fix=f"set `template:` to {', '.join(BUILT_IN)} or a Jinja file",
            )
    else:
        source = _built_in(label, tokenizer) if label in BUILT_IN else _read(Path(label))
        tokenizer.chat_template = source
    check_template(tokenizer, label)


def _built_in(label: str, tokenizer: Any) -> str:
    """A template with BOS in front exactly where the tokenizer itself puts one in front of text."""
    return ("{{- bos_token -}}" if writes_bos(tokenizer) else "") + BUILT_IN[label].strip()


def _read(path: Path) -> str:
    if not path.is_file():
        raise ModelError(
            "no such chat template",
            where=str(path),
            fix=f"{TOKENIZER}, {', '.join(BUILT_IN)}, or the path of a Jinja file",
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"is no UTF-8 text ({error})", where=str(path)) from None
