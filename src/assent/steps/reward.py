"""Train a reward model on rankings, measure it against the surface floor, put it on a known scale."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from assent.config.steps import RewardConfig
from assent.core.console import log
from assent.core.errors import ConfigError, DataError
from assent.core.jsonl import write_json
from assent.core.records import Group, Judgment, check_tiers, preference_pairs
from assent.data.collate import TokenGroup
from assent.data.render import encode_groups, encode_prompts
from assent.data.templates import attach_template
from assent.engine import score_all
from assent.engine.generate import LocalGenerator
from assent.formats.preferences import margin
from assent.methods.figures import answer_rows
from assent.methods.reward import RankedItem, Reward
from assent.models import heads
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.stats import bootstrap, calibration, surface
from assent.steps import collect
from assent.steps.context import Context
from assent.steps.export import export, plan
from assent.train.loop import run
from assent.train.method import Peek

PEEKED = 2
"""Groups scored at every logged step."""
Pairs = dict[str, list[tuple[int, int, float, float]]]
"""Group id -> (better, worse, weight, margin)."""


def step(context: Context, config: RewardConfig) -> dict[str, Any]:
    """Train on the training prompts' rankings; accuracy, calibration and floor on the held-out ones."""
    groups, judgments, held_out = collect.read(context.inputs["judgments"][0])
    pairs = pairs_of(groups, judgments)
    start = config.model or context.model_input("policy")
    if start is None:
        raise ConfigError(
            "has no trunk to start from", where=context.name, fix="give `from: {policy: STEP}` or `model: FOLDER`"
        )
    trunk, tokenizer = load_policy(start), load_tokenizer(start)
    attach_template(tokenizer, config.template or "tokenizer")
    model = heads.reward_model_from(trunk, tokenizer, context.seed_for("head"))
    train = [g for g in groups if g.id in pairs and g.prompt.id not in held_out]
    test = [g for g in groups if g.id in pairs and g.prompt.id in held_out]
    longest = min(config.limits.max_length or context_length(model), context_length(model))
    encoded, dropped = encode_groups(train, tokenizer, longest, config.limits.too_long)
    if not encoded:
        raise DataError(
            "no training pair is left",
            where=context.name,
            fix="more judgments that are no ties, or a larger max_length",
        )
    items = [RankedItem(tokens, tuple(pairs[tokens.group_id])) for tokens in encoded]
    steps = math.ceil(len(items) * config.epochs / config.batch)
    plan(context, [model], rankings=len(items), pairs=sum(len(i.pairs) for i in items), dropped=dropped, steps=steps)
    method = Reward(
        model,
        items,
        config.optimiser,
        centre=config.centre,
        batch=config.batch,
        steps=steps,
        seed=context.seed_for("order"),
        peek=_peek(model, {g.id: g for g in train}, encoded[:PEEKED]),
    )
    run(method, config.limits, context.folder, context.name)
    kept = {tokens.group_id for tokens in encoded}
    report = measure(
        model,
        tokenizer,
        [g for g in train if g.id in kept],
        test,
        pairs,
        config,
        longest,
        context.seed_for("bootstrap"),
    )
    _normalise(context, config, model, tokenizer, train)
    write_json(context.data / "held_out.json", report)
    export(context, model, tokenizer, base=config.model)
    return {
        "rankings": len(items),
        "dropped": dropped,
        "steps": steps,
        **{k: v for k, v in report.items() if k not in ("calibration", "floor_weights")},
    }


def _peek(model: Any, groups: dict[str, Group], shown: list[TokenGroup]) -> Peek:
    """Scores of the same few answers whenever a step is logged."""

    def peek() -> list[dict[str, Any]]:
        reward_N = score_all(model, shown, sum(len(g.prompt_ids) + sum(map(len, g.answers)) for g in shown)).reward_N
        assert reward_N is not None
        return answer_rows([groups[tokens.group_id] for tokens in shown], reward_N.tolist())

    return peek


def pairs_of(groups: list[Group], judgments: list[Judgment]) -> Pairs:
    """Preference pairs by group. The pairs of one judgment share its weight of 1."""
    by_id = {group.id: group for group in groups}
    superseded = {j.supersedes for j in judgments if j.supersedes}
    pairs: Pairs = defaultdict(list)
    for judgment in judgments:
        if judgment.outcome != "ranked" or judgment.id in superseded:
            continue
        group = by_id.get(judgment.group)
        problem = "names no known group" if group is None else check_tiers(judgment, group)
        if group is None or problem:
            raise DataError(str(problem), where=f"judgment {judgment.id}")
        found = preference_pairs(judgment, group)
        pairs[group.id] += [(w, l, 1 / len(found), margin(judgment)) for w, l in found]
    return {group: found for group, found in pairs.items() if found}


def measure(
    model: Any,
    tokenizer: Any,
    train: list[Group],
    test: list[Group],
    pairs: Pairs,
    config: RewardConfig,
    longest: int,
    seed: int,
) -> dict[str, Any]:
    """Held-out accuracy, its floor, the paired difference by subject, and calibration."""
    encoded, dropped = encode_groups(test, tokenizer, longest, config.limits.too_long)
    fit = [(g.answers[w].text, g.answers[l].text) for g in train for w, l, _, _ in pairs[g.id]]
    if not encoded or not fit:
        log.print("  no held-out pairs, so accuracy is not measured", style="yellow")
        return {"accuracy": None, "accuracy_floor": None, "floor_difference_interval": None, "n": 0}
    floor = surface.fit(fit)
    rewards = score_all(model, encoded, config.limits.token_budget).reward_N
    assert rewards is not None
    leads, texts, units = [], [], []
    by_id, first = {g.id: g for g in test}, 0
    for tokens in encoded:
        group = by_id[tokens.group_id]
        for w, l, _, _ in pairs[group.id]:
            leads.append(float(rewards[first + w] - rewards[first + l]))
            texts.append((group.answers[w].text, group.answers[l].text))
            units.append(group.prompt.subject)
        first += len(tokens.answers)
    correct = [1.0 if lead > 0 else 0.5 if lead == 0 else 0.0 for lead in leads]
    accuracy = bootstrap.mean_interval(correct, units, seed=seed)
    difference = bootstrap.difference_interval(correct, floor.correct(texts), units, seed=seed)
    predicted, observed = calibration.favourites(leads)
    return {
        "accuracy": sum(correct) / len(correct),
        "accuracy_interval": [accuracy.low, accuracy.high] if accuracy else None,
        "accuracy_floor": floor.accuracy(texts),
        "floor_difference_interval": [difference.low, difference.high] if difference else None,
        "n": len(leads),
        "held_out_dropped": dropped,
        "n_subjects": len(set(units)),
        "ece": calibration.ece(predicted, observed),
        "perfect_ece": calibration.perfect_ece(predicted, seed=seed),
        "brier": calibration.brier(predicted, observed),
        "floor_weights": floor.by_name,
        "best_temperature": calibration.best_temperature(leads),
        "calibration": [list(b) for b in calibration.reliability(predicted, observed)],
    }


def _normalise(context: Context, config: RewardConfig, model: Any, tokenizer: Any, train: list[Group]) -> None:
    """Shift and scale so that the reference policy's answers score mean 0 and deviation 1."""
    folder: Path | None = context.model_input("policy")
    if not config.normalise_prompts or folder is None:
        return
    generator = LocalGenerator(
        load_policy(folder), load_tokenizer(folder), "normalise", config.sampling, config.limits.token_budget
    )
    room = context_length(generator.model) - config.sampling.max_tokens
    prompts = list({g.prompt.id: g.prompt for g in train}.values())[: config.normalise_prompts]
    fitting = [
        p for p, ids in zip(prompts, encode_prompts(prompts, generator.tokenizer), strict=True) if len(ids) <= room
    ]
    groups = generator.generate(fitting, 2, context.seed_for("normalise"))
    encoded, _ = encode_groups(groups, tokenizer, context_length(model), "drop")
    if not encoded:
        raise DataError(
            f"none of {len(prompts)} prompts leaves room for an answer",
            where=f"{context.name}.sampling.max_tokens",
            fix="a smaller max_tokens, or `normalise_prompts: 0`",
        )
    scores = score_all(model, encoded, config.limits.token_budget).reward_N
    assert scores is not None
    if not float(scores.std()) > 0:
        raise DataError(
            "the reward model gives every answer the same score",
            where=context.name,
            fix="more epochs, a larger lr, or other data",
        )
    heads.normalise(model, float(scores.mean()), float(scores.std()))
