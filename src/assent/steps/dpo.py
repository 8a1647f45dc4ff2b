"""DPO: the policy learns from rankings directly; measured on the held-out ones."""

from __future__ import annotations

import math
from itertools import compress
from typing import Any

from assent.config.steps import DpoConfig
from assent.core.console import log
from assent.core.errors import DataError
from assent.core.records import Group
from assent.data.render import encode_groups
from assent.data.templates import attach_template
from assent.methods.dpo import Dpo, implicit_leads, refer
from assent.methods.pairs import TIE, RankedItem, used, won
from assent.methods.preference import ReferredItem
from assent.models import adapters
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.stats import bootstrap
from assent.steps import collect
from assent.steps.context import Context
from assent.steps.export import export, in_order, plan
from assent.steps.pairs import Pairs, check_soft, pairs_of, why_none
from assent.steps.sft import peek
from assent.train.loop import run

MORE = "more judgments that are no ties, of answers that differ, or a larger max_length"


def step(context: Context, config: DpoConfig) -> dict[str, Any]:
    """Train on the training prompts' rankings; how often the policy's own preference is right on the others."""
    folder = context.inputs["judgments"][0]
    groups, judgments, held_out = collect.read(folder)
    check_soft(judgments, config.labels)
    pairs = pairs_of(groups, judgments, config.labels, collect.read_raters(folder), config.pairs)
    start = context.model_input("policy") or config.model
    assert start is not None
    policy, tokenizer = load_policy(start), load_tokenizer(start)
    attach_template(tokenizer, config.template or "tokenizer")
    adapters.adapt(policy, config.adapter, context.seed_for("adapter"))
    train = [g for g in groups if g.id in pairs and g.prompt.id not in held_out]
    test = [g for g in groups if g.id in pairs and g.prompt.id in held_out]
    items, dropped = _items(train, pairs, policy, tokenizer, config)
    if not items:
        asked = {g.id: g for g in groups if g.prompt.id not in held_out}
        raise DataError(
            f"no training pair is left: {why_none(asked, judgments, len(train))}", where=context.name, fix=MORE
        )
    if any(pair.margin for item in items for pair in item.pairs):
        log.print(f"  {context.name}: the data has margins, which DPO does not use", style="yellow")
    # Until something is trained the policy is its own reference (a fresh adapter changes nothing): no second model.
    measured, test_dropped = _items(test, pairs, policy, tokenizer, config)
    before = refer(policy, measured, config, config.limits.token_budget)
    steps = math.ceil(len(items) * config.epochs / config.batch)
    order, n_pairs = context.seed_for("order"), sum(len(i.pairs) for i in items)
    batches = in_order([item.group for item in items], config.batch, steps, order)
    plan(context, [policy], [], batches, rankings=len(items), pairs=n_pairs, dropped=dropped, steps=steps)
    method = Dpo(
        policy,
        policy,
        items,
        config.optimiser,
        settings=config,
        batch=config.batch,
        steps=steps,
        seed=order,
        token_budget=config.limits.token_budget,
        peek=peek(context, config, policy, tokenizer, [g.prompt for g in test or train]),
    )
    run(method, config.limits, context.folder, context.name)
    found = _measure(policy, before, test, config, context.seed_for("bootstrap"))
    export(context, policy, tokenizer, base=None if context.model_input("policy") else config.model)
    return {"rankings": len(items), "dropped": dropped, "steps": steps, **found, "held_out_dropped": test_dropped}


def _items(
    groups: list[Group], pairs: Pairs, policy: Any, tokenizer: Any, config: DpoConfig
) -> tuple[list[RankedItem], int]:
    """Groups as token ids with their pairs, and how many did not fit."""
    longest = min(config.limits.max_length or context_length(policy), context_length(policy))
    encoded, dropped = encode_groups(groups, tokenizer, longest, config.limits.too_long)
    return [used(RankedItem(tokens, tuple(pairs[tokens.group_id]))) for tokens in encoded], dropped


def _measure(
    policy: Any, before: list[ReferredItem], test: list[Group], config: DpoConfig, seed: int
) -> dict[str, Any]:
    """Share of held-out pairs whose better answer has the higher implicit reward, with its interval by subject."""
    before = [item for item in before if any(pair.prob != TIE for pair in item.ranked.pairs)]
    if not before:
        log.print("  no held-out pairs, so accuracy is not measured", style="yellow")
        return {"accuracy": None, "n": 0}
    subjects = {g.id: g.prompt.subject for g in test}
    decided = [pair.prob != TIE for item in before for pair in item.ranked.pairs]
    every = [subjects[item.group.group_id] for item in before for _ in item.ranked.pairs]
    hits = won(implicit_leads(policy, before, config, config.limits.token_budget)).tolist()
    units, correct = list(compress(every, decided)), list(compress(hits, decided))
    interval = bootstrap.mean_interval(correct, units, seed=seed)
    return {
        "accuracy": sum(correct) / len(correct),
        "accuracy_interval": [interval.low, interval.high] if interval else None,
        "n": len(correct),
        "n_subjects": len(set(units)),
    }
