"""What the steps of methods that sample and learn from scores share: rewards, prompts, figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assent.config.steps import LAB, BestOfConfig, OnlineConfig
from assent.core.console import log
from assent.core.errors import ConfigError, DataError
from assent.core.protocols import Scorer
from assent.core.records import Prompt
from assent.data.collate import TokenGroup
from assent.data.render import encode_prompts, tokenizer_fingerprint
from assent.engine.generate import LocalGenerator
from assent.engine.sample import CACHED
from assent.methods.online import Online
from assent.models import adapters
from assent.models.adapters import load_reward
from assent.models.load import context_length, load_policy, load_tokenizer, member_folders
from assent.rewards.ensemble import EnsembleReward
from assent.rewards.model import ModelReward
from assent.rewards.terms import distinct, listed
from assent.rewards.total import TotalReward
from assent.steps.context import WEIGHTS, Context, prompts
from assent.steps.export import PLANNED, export, plan
from assent.train.loop import Probe, run
from assent.train.tracking import read_metrics


def reward_models(context: Context, policy: Any = None) -> list[tuple[Any, Any]]:
    """Reward models under `from` with their tokenizers, of an ensemble every member.

    They stand on the policy's base where both are adapters over it.
    """
    folders = [path / WEIGHTS for path in context.inputs.get("reward", [])]
    each = [found for folder in folders for found in member_folders(folder) or [folder]]
    return [(load_reward(folder, policy), load_tokenizer(folder)) for folder in each]


def reward(context: Context, config: OnlineConfig | BestOfConfig, models: list[tuple[Any, Any]]) -> TotalReward:
    """The reward models under `from`, then the listed terms, weighted."""
    budget = config.limits.token_budget if isinstance(config, OnlineConfig) else config.token_budget
    parts: list[tuple[str, Scorer, float]] = []
    loaded = iter(models)
    for path in context.inputs.get("reward", []):
        members = len(member_folders(path / WEIGHTS))
        scorers = [ModelReward(path.name, *next(loaded), budget) for _ in range(members or 1)]
        parts.append(
            (path.name, EnsembleReward(scorers, config.combine) if members else scorers[0], config.reward_weight)
        )
        if members:
            log.print(
                f"  {context.name}: {path.name} is an ensemble, its {members} members are held together", style="dim"
            )
    total = TotalReward(distinct([*parts, *listed(config.rewards, budget)]))
    if "combine" in config.model_fields_set and not total.ensembles:
        raise ConfigError(
            "`combine` is not read: no ensemble of reward models stands under `from`",
            where=f"{context.name}.combine",
            fix="leave it out, or write `ensemble: {}` in the reward step",
        )
    return total


def asked(
    context: Context, config: OnlineConfig, generator: LocalGenerator, total: TotalReward
) -> tuple[list[Prompt], int]:
    """Training prompts that leave room for an answer; those that do not are dropped and counted, or refused."""
    wanted = config.iterations * config.prompts if config.data == LAB else None
    found = prompts(context, config.data, held_out=False, n=wanted)
    room = (
        min(config.limits.max_length or context_length(generator.model), context_length(generator.model))
        - config.sampling.max_tokens
    )
    fitting = [p for p, ids in zip(found, encode_prompts(found, generator.tokenizer), strict=True) if len(ids) <= room]
    dropped = len(found) - len(fitting)
    if dropped and config.limits.too_long == "error":
        raise DataError(
            f"{dropped} of {len(found)} prompts leave no room for {config.sampling.max_tokens} answer tokens",
            where=config.data,
            fix="limits.too_long: drop, a smaller sampling.max_tokens, or a larger limits.max_length",
        )
    if not fitting:
        raise DataError(
            f"no prompt leaves room for an answer of {config.sampling.max_tokens} tokens: {room} are left for a prompt",
            where=config.data,
            fix="a smaller sampling.max_tokens, or a larger limits.max_length where one is set",
        )
    check_room(total, fitting, generator)
    return fitting, dropped


def check_room(total: TotalReward, asked: list[Prompt], generator: LocalGenerator) -> None:
    """Refuse a reward model that can read no answer of full length; say to how many prompts it cannot.

    Tokens of another tokenizer are not comparable: there it must have room for one.
    """
    for reader in total.readers:
        same = tokenizer_fingerprint(reader.tokenizer) == tokenizer_fingerprint(generator.tokenizer)
        needed = generator.sampling.max_tokens if same else 1
        room = reader.room(asked)
        short = sum(left < needed for left in room)
        if short == len(room):
            raise DataError(
                f"its context of {context_length(reader.model)} tokens has no room for an answer of {needed} tokens "
                f"behind the shortest prompt, so it could not score one that long",
                where=f"reward model {reader.name}",
                fix="a smaller sampling.max_tokens, shorter prompts, or a reward model with a longer context",
            )
        if short:
            log.print(
                f"  to {short} of {len(room)} prompts, {reader.name} can read no answer of {needed} tokens: "
                "such answers have no score",
                style="yellow",
            )


def train(context: Context, config: OnlineConfig, kind: Callable[..., Online[Any]], *, refers: bool) -> dict[str, Any]:
    """Load policy and reward, and the reference where one is asked (`refers`); train; export. Of methods without a
    critic, which are made alike: `kind(generator, reference, reward, prompts, config, seed)`."""
    folder = context.model_input("policy")
    assert folder is not None
    tokenizer = load_tokenizer(folder)
    policy = adapters.adapt(load_policy(folder), config.adapter, context.seed_for("adapter"))
    reference = adapters.reference_of(policy, folder) if refers else None
    models = reward_models(context, policy)
    scorer = reward(context, config, models)
    generator = LocalGenerator(policy, tokenizer, context.name, config.sampling, config.limits.token_budget)
    fitting, dropped = asked(context, config, generator, scorer)
    method = kind(generator, reference, scorer, fitting, config, context.seed_for(config.kind))
    frozen = [*(model for model, _ in models), *([] if reference is None else [reference])]
    batches, held = load(config, fitting, tokenizer)
    plan(context, [policy], frozen, batches, held, **planned(config, len(fitting), dropped))
    run(method, config.limits, context.folder, context.name, probes(config, method))
    export(context, policy, tokenizer, base=None)
    return headline(context, config, len(fitting), dropped)


def probes(config: OnlineConfig, method: Online[Any]) -> list[Probe]:
    """In the lab: gold of the answers just sampled, beside the proxy that is being maximised."""
    if config.data != LAB:
        return []
    from assent.lab.gold import Gold

    gold = Gold()

    def probe(step: int) -> dict[str, float]:
        values = [v for row in gold.score(method.last_rollout.groups) for v in row if v is not None]
        return {"gold": sum(values) / len(values)}

    return [probe]


def planned(config: OnlineConfig, asked: int, dropped: int) -> dict[str, int]:
    """Derived numbers, printed before training."""
    return {
        "prompts": asked,
        "dropped": dropped,
        "iterations": config.iterations,
        "answers": config.iterations * config.prompts * config.answers,
        "updates": config.iterations * config.epochs * config.minibatches,
    }


def load(config: OnlineConfig, asked: list[Prompt], tokenizer: Any) -> tuple[list[list[TokenGroup]], int]:
    """Groups of some optimiser steps with every answer as long as it may be, and the most tokens held in sampling."""
    prompts = encode_prompts(asked[: PLANNED * config.prompts], tokenizer)
    answer = (0,) * config.sampling.max_tokens
    answers = (answer,) * config.answers
    groups = [TokenGroup(str(i), tuple(ids), answers, ("",) * config.answers) for i, ids in enumerate(prompts)]
    size = config.prompts // config.minibatches
    batches = [groups[i : i + size] for i in range(0, len(groups), size)]
    held = config.prompts * (max(map(len, prompts)) + config.answers * config.sampling.max_tokens)
    return batches, min(held, CACHED * config.limits.token_budget)


def headline(context: Context, config: OnlineConfig, asked: int, dropped: int) -> dict[str, Any]:
    """What was done, and the last iteration's figures."""
    last = read_metrics(context.folder)[-1]
    done = int(last["step"]) + 1
    return {
        **({"ended_by": "disagreement"} if done < config.iterations else {}),
        "iterations": done,
        "prompts": asked,
        "dropped": dropped,
        **{
            name.split("/")[-1]: round(last[name], 4)
            for name in ("objective/kl", "objective/scores", "completions/mean_length", "rewards/disagreement")
            if name in last
        },
    }
