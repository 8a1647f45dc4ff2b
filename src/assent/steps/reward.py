"""Train a reward model, or an ensemble, on rankings; measure it against the surface floor; put it on a known scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from assent.config.steps import RewardConfig
from assent.core.errors import ConfigError, DataError
from assent.core.jsonl import write_json
from assent.core.records import Group, Rater
from assent.data.collate import TokenGroup
from assent.data.render import encode_groups, encode_prompts
from assent.data.templates import attach_template
from assent.engine import score_all
from assent.engine.generate import LocalGenerator
from assent.methods.figures import answer_rows
from assent.methods.pairs import RankedItem
from assent.methods.reward import Reward
from assent.models import adapters, heads
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.steps import collect
from assent.steps.context import WEIGHTS, Context
from assent.steps.export import export, in_order, plan
from assent.steps.measure import Rewards, Texts, combined, disagreement, measure, texts_of
from assent.steps.members import Member, members_of
from assent.steps.pairs import Pairs, check_soft, current, pairs_of, why_none
from assent.train.loop import run
from assent.train.method import Peek

PEEKED = 2
"""Groups scored at every logged step."""
KEPT_IN_FILE = ("calibration", "floor_weights", "members")
"""Parts of held_out.json that are no headline."""


@dataclass(frozen=True)
class _Work:
    """What all reward models of a step share."""

    context: Context
    config: RewardConfig
    groups: list[Group]
    raters: list[Rater]
    held_out: set[str]
    hard: Pairs
    """As judged, whatever the labels that are learned: what a model is measured on."""
    trunks: list[str | Path]
    answers: list[Group]
    """The first policy's, which set the scale; none where scores are left as trained."""

    @property
    def test(self) -> list[Group]:
        """Held-out groups with a pair."""
        return [group for group in self.groups if group.id in self.hard and group.prompt.id in self.held_out]


class _Scale(NamedTuple):
    """Of the policy's answers, in log-odds: the written model's scores are (score - mean) / deviation."""

    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class _Trained:
    """What is left of a reward model that was written."""

    member: Member
    rewards: Rewards
    """Of held-out answers, in log-odds."""
    scale: _Scale
    fit: Texts
    numbers: dict[str, int]
    report: dict[str, Any]

    @property
    def written(self) -> Rewards:
        """Rewards as the written model gives them."""
        mean, deviation = self.scale
        return {group: [(value - mean) / deviation for value in values] for group, values in self.rewards.items()}


def step(context: Context, config: RewardConfig) -> dict[str, Any]:
    """Train on the training prompts' rankings; accuracy, calibration and floor on the held-out ones."""
    folder = context.inputs["judgments"][0]
    groups, judgments, held_out = collect.read(folder)
    check_soft(judgments, config.labels)
    raters, hard = collect.read_raters(folder), pairs_of(groups, judgments)
    learned = pairs_of(groups, judgments, config.labels, raters)
    train = [g for g in groups if g.id in (learned.keys() | hard.keys()) and g.prompt.id not in held_out]
    asked = {group.id for group in groups if group.prompt.id not in held_out}
    members = [Member([j for j in current(judgments) if j.group in asked])]
    if config.ensemble is not None:
        seed = context.seed_for("members")
        members = members_of(config.ensemble, train, members[0].judgments, raters, seed, context.name)
    trunks = _trunks(context, config, len(members))
    work = _Work(context, config, groups, raters, held_out, hard, trunks, _scale_answers(context, config, train))
    trained = [_train(work, member, len(members)) for member in members]
    report = trained[0].report if config.ensemble is None else _of_all(work, trained)
    write_json(context.data / "held_out.json", report)
    numbers = [one.numbers for one in trained]
    return {
        **({} if config.ensemble is None else _members_headline(trained)),
        "rankings": max(n["rankings"] for n in numbers),
        "dropped": max(n["dropped"] for n in numbers),
        "steps": sum(n["steps"] for n in numbers),
        **{k: v for k, v in report.items() if k not in KEPT_IN_FILE},
    }


def _trunks(context: Context, config: RewardConfig, members: int) -> list[str | Path]:
    """Models to start from, taken in turn."""
    policies: list[str | Path] = [path / WEIGHTS for path in context.inputs.get("policy", [])]
    if not policies and config.model is None:
        raise ConfigError(
            "has no trunk to start from", where=context.name, fix="give `from: {policy: STEP}` or `model: FOLDER`"
        )
    if len(policies) > members:
        raise ConfigError(
            f"{len(policies)} policies are trunks, but there are {members} members",
            where=f"{context.name}.from.policy",
            fix="as many members as policies, or more",
        )
    return policies if config.model is None else [config.model]


def _train(work: _Work, member: Member, of: int) -> _Trained:
    """Train, measure, scale and write one reward model."""
    context, config = work.context, work.config
    model, tokenizer = _model(work, member)
    longest = min(config.limits.max_length or context_length(model), context_length(model))
    test, _ = encode_groups(work.test, tokenizer, longest, config.limits.too_long)
    pairs = pairs_of(work.groups, member.judgments, config.labels, work.raters)
    by_id = {g.id: g for g in work.groups if g.id in pairs}
    encoded, dropped = encode_groups(list(by_id.values()), tokenizer, longest, config.limits.too_long)
    drawn = [tokens for tokens in encoded for _ in range(member.draws(by_id[tokens.group_id]))]
    if not drawn:
        raise _nothing_to_learn(context.name, member, work.groups, len(by_id))
    method = _method(work, member, model, [RankedItem(tokens, tuple(pairs[tokens.group_id])) for tokens in drawn])
    method.peek = _peek(model, by_id, encoded[:PEEKED])
    numbers = {"rankings": len(drawn), "dropped": dropped, "steps": method.steps}
    which = {} if member.number is None else {"member": member.number, "members": of}
    batches = in_order(drawn, config.batch, method.steps, method.seed)
    plan(context, [model], [], batches, **which, pairs=sum(len(i.pairs) for i in method.items), **numbers)
    name = context.name if member.number is None else f"{context.name} (member {member.number} of {of})"
    run(method, config.limits, member.folder(context.folder), name)
    rewards = _rewards(model, test, config.limits.token_budget)
    fit = texts_of([by_id[tokens.group_id] for tokens in drawn], pairs)
    scale = _normalise(context, model, tokenizer, work.answers, config.limits.token_budget)
    report = measure(rewards, work.test, work.hard, fit, 1 / scale.deviation, context.seed_for("bootstrap"))
    model.config.pair_temperature = report.get("pair_temperature", 1 / scale.deviation)
    export(context, model, tokenizer, base=config.model, folder=member.folder(context.weights))
    return _Trained(member, rewards, scale, fit, numbers, report)


def _model(work: _Work, member: Member) -> tuple[Any, Any]:
    """An untrained reward model on its trunk, with the trunk's tokenizer."""
    start = work.trunks[((member.number or 1) - 1) % len(work.trunks)]
    tokenizer = load_tokenizer(start)
    attach_template(tokenizer, work.config.template or "tokenizer")
    model = heads.reward_model_from(load_policy(start), tokenizer, work.context.seed_for("head", *member.names))
    return adapters.adapt(model, work.config.adapter, work.context.seed_for("adapter", *member.names)), tokenizer


def _nothing_to_learn(name: str, member: Member, groups: Sequence[Group], with_pairs: int) -> DataError:
    who = "" if member.number is None else f" for {member.label}"
    why = why_none({group.id: group for group in groups}, member.judgments, with_pairs)
    return DataError(
        f"no training pair is left{who}: {why}",
        where=name,
        fix="more judgments that are no ties, of answers that differ, or a larger max_length"
        + ("" if member.number is None else ", or another `ensemble.differ`"),
    )


def _method(work: _Work, member: Member, model: Any, items: list[RankedItem]) -> Reward:
    config = work.config
    return Reward(
        model,
        items,
        config.optimiser,
        centre=config.centre,
        batch=config.batch,
        steps=math.ceil(len(items) * config.epochs / config.batch),
        seed=work.context.seed_for("order", *member.names),
    )


def _peek(model: Any, groups: dict[str, Group], shown: list[TokenGroup]) -> Peek:
    """Scores of the same few answers whenever a step is logged."""

    def peek() -> list[dict[str, Any]]:
        reward_N = score_all(model, shown, sum(len(g.prompt_ids) + sum(map(len, g.answers)) for g in shown)).reward_N
        assert reward_N is not None
        return answer_rows([groups[tokens.group_id] for tokens in shown], reward_N.tolist())

    return peek


def _of_all(work: _Work, trained: list[_Trained]) -> dict[str, Any]:
    """The ensemble's mean, measured as a single model is; each member; and what their disagreement is worth.

    The mean of the written scores is a weighted mean of the members' log-odds: that one is measured.
    """
    seed = work.context.seed_for("bootstrap")
    written = [one.written for one in trained]
    unit = sum(1 / one.scale.deviation for one in trained) / len(trained)
    whole = {group: [value / unit for value in values] for group, values in combined(written).items()}
    fit = list(dict.fromkeys(texts for one in trained for texts in one.fit))
    report = measure(whole, work.test, work.hard, fit, unit, seed)
    report |= disagreement(written, work.test, work.hard, seed)
    members = [{"member": one.member.number, "of": one.member.of} | one.numbers | one.report for one in trained]
    return report | {"members": members}


def _members_headline(trained: list[_Trained]) -> dict[str, Any]:
    return {"members": len(trained), "member_accuracy": [one.report["accuracy"] for one in trained]}


def _rewards(model: Any, encoded: list[TokenGroup], token_budget: int) -> Rewards:
    """A reward per answer."""
    if not encoded:
        return {}
    reward_N = score_all(model, encoded, token_budget).reward_N
    assert reward_N is not None
    flat = iter(reward_N.tolist())
    return {tokens.group_id: [next(flat) for _ in tokens.answers] for tokens in encoded}


def _scale_answers(context: Context, config: RewardConfig, train: list[Group]) -> list[Group]:
    """Answers of the first policy to training prompts: what mean 0 and deviation 1 are taken over."""
    policies = context.inputs.get("policy", [])
    if not config.normalise_prompts or not policies:
        return []
    folder = policies[0] / WEIGHTS
    generator = LocalGenerator(
        load_policy(folder), load_tokenizer(folder), "normalise", config.sampling, config.limits.token_budget
    )
    room = context_length(generator.model) - config.sampling.max_tokens
    prompts = list({g.prompt.id: g.prompt for g in train}.values())[: config.normalise_prompts]
    lengths = [len(ids) for ids in encode_prompts(prompts, generator.tokenizer)]
    fitting = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= room]
    if prompts and not fitting:
        raise _no_room(context, len(prompts))
    return generator.generate(fitting, 2, context.seed_for("normalise"))


def _no_room(context: Context, prompts: int) -> DataError:
    return DataError(
        f"none of {prompts} prompts leaves room for an answer",
        where=f"{context.name}.sampling.max_tokens",
        fix="a smaller max_tokens, or `normalise_prompts: 0` and no `sampling`",
    )


def _normalise(context: Context, model: Any, tokenizer: Any, answers: list[Group], token_budget: int) -> _Scale:
    """Shift and scale so that the policy's answers score mean 0 and deviation 1."""
    if not answers:
        return _Scale()
    encoded, _ = encode_groups(answers, tokenizer, context_length(model), "drop")
    if not encoded:
        raise _no_room(context, len(answers))
    scores = score_all(model, encoded, token_budget).reward_N
    assert scores is not None
    if not float(scores.std()) > 0:
        raise DataError(
            "the reward model gives every answer the same score",
            where=context.name,
            fix="more epochs, a larger lr, or other data",
        )
    scale = _Scale(float(scores.mean()), float(scores.std()))
    heads.normalise(model, *scale)
    return scale
