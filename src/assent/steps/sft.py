"""Supervised fine-tuning on demonstrations."""

from __future__ import annotations

import math
from typing import Any

from assent.config.steps import DpoConfig, SftConfig
from assent.core.console import log
from assent.core.errors import ConfigError, DataError
from assent.core.records import Demonstration, Group, Prompt
from assent.data.collate import TokenGroup
from assent.data.render import encode_groups, encode_prompts, highlight
from assent.data.templates import attach_template
from assent.engine.generate import LocalGenerator
from assent.methods.figures import answer_rows
from assent.methods.sft import Sft, held_out_loss
from assent.models import adapters
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.steps.context import Context, demonstrations
from assent.steps.export import export, in_order, plan
from assent.train.loop import run
from assent.train.method import Peek

PEEKED = 4
"""Prompts answered at every logged step."""


def step(context: Context, config: SftConfig) -> dict[str, Any]:
    """Read demonstrations, show what will be trained on, train, export."""
    start = context.model_input("model") or config.model
    if start is None:
        raise ConfigError(
            "has nothing to start from",
            where=context.name,
            fix="give `model: FOLDER_OR_HUB_ID` or `from: {model: STEP}`",
        )
    train, held_out = _demonstrations(context, config)
    model = adapters.adapt(load_policy(start), config.adapter, context.seed_for("adapter"))
    tokenizer = load_tokenizer(start)
    attach_template(tokenizer, config.template or "tokenizer")
    rows, dropped = encode(train, model, tokenizer, config)
    kept, _ = encode(held_out, model, tokenizer, config) if held_out else ([], 0)
    if not rows:
        raise DataError(
            f"none of {len(train)} demonstrations fits",
            where=context.name,
            fix="a larger limits.max_length, or shorter rows",
        )
    log.print(highlight(rows[0], tokenizer))
    steps = math.ceil(len(rows) * config.epochs / config.batch)
    tokens = sum(len(a) for row in rows for a in row.answers) * config.epochs
    order = context.seed_for("order")
    batches = in_order(rows, config.batch, steps, order)
    plan(context, [model], [], batches, demonstrations=len(rows), dropped=dropped, steps=steps, trained_tokens=tokens)
    method = Sft(
        model,
        rows,
        config.optimiser,
        batch=config.batch,
        steps=steps,
        seed=order,
        peek=peek(context, config, model, tokenizer, [d.prompt for d in held_out or train]),
    )
    run(method, config.limits, context.folder, context.name)
    headline: dict[str, Any] = {"demonstrations": len(rows), "dropped": dropped, "steps": steps}
    if kept:
        headline["held_out_loss"] = round(held_out_loss(model, kept, config.limits.token_budget), 4)
        headline["held_out_n"] = len(kept)
    export(context, model, tokenizer, base=None if context.model_input("model") else config.model)
    return headline


def _demonstrations(context: Context, config: SftConfig) -> tuple[list[Demonstration], list[Demonstration]]:
    if config.source == "service":
        from assent.steps import service

        return service.demonstrations(context, config)
    return demonstrations(context, config.data, config.demonstrations)


def peek(context: Context, config: SftConfig | DpoConfig, model: Any, tokenizer: Any, prompts: list[Prompt]) -> Peek:
    """Answers to the same few prompts with the same randomness, whenever a step is logged."""
    generator = LocalGenerator(model, tokenizer, context.name, config.sampling, config.limits.token_budget)
    room = context_length(model) - config.sampling.max_tokens
    asked = list({p.id: p for p in prompts}.values())[:PEEKED]
    fitting = [p for p, ids in zip(asked, encode_prompts(asked, tokenizer), strict=True) if len(ids) <= room]
    return lambda: answer_rows(generator.generate(fitting, 1, context.seed_for("peek")) if fitting else [])


def encode(rows: list[Demonstration], model: Any, tokenizer: Any, config: SftConfig) -> tuple[list[TokenGroup], int]:
    """Demonstrations as token groups of one answer."""
    longest = min(config.limits.max_length or context_length(model), context_length(model))
    groups = [Group(prompt=row.prompt, answers=(row.answer,)) for row in rows]
    return encode_groups(groups, tokenizer, longest, config.limits.too_long)
