"""PPO: the policy against its reward, on a leash to where it started."""

from __future__ import annotations

from typing import Any

from assent.config.steps import LAB, PpoConfig
from assent.core.errors import DataError
from assent.core.protocols import Scorer
from assent.core.records import Prompt
from assent.data.render import encode_prompts, tokenizer_fingerprint
from assent.engine.generate import LocalGenerator
from assent.methods.ppo import Ppo
from assent.models import heads
from assent.models.load import context_length, load_policy, load_reward_model, load_tokenizer
from assent.rewards.function import FunctionReward
from assent.rewards.model import ModelReward
from assent.rewards.total import TotalReward
from assent.steps.context import WEIGHTS, Context, prompts
from assent.steps.export import export, plan
from assent.train.loop import Probe, run
from assent.train.tracking import read_metrics


def step(context: Context, config: PpoConfig) -> dict[str, Any]:
    """Load policy, reference, reward and critic; train; export."""
    folder = context.model_input("policy")
    assert folder is not None
    tokenizer = load_tokenizer(folder)
    policy, reference = load_policy(folder), load_policy(folder).requires_grad_(False)
    models = [
        (load_reward_model(path / WEIGHTS), load_tokenizer(path / WEIGHTS)) for path in context.inputs.get("reward", [])
    ]
    reward = _reward(context, config, models)
    generator = LocalGenerator(policy, tokenizer, context.name, config.sampling, config.limits.token_budget)
    asked, dropped = _prompts(context, config, generator)
    method = Ppo(
        generator,
        reference,
        reward,
        _critic(config, models, policy, tokenizer, context),
        asked,
        config,
        context.seed_for("ppo"),
    )
    plan(
        context,
        list(method.modules.values()),
        [reference, *(model for model, _ in models)],
        prompts=len(asked),
        dropped=dropped,
        iterations=config.iterations,
        answers=config.iterations * config.prompts * config.answers,
        updates=config.iterations * config.epochs * config.minibatches,
    )
    run(method, config.limits, context.folder, context.name, _probes(config, method))
    export(context, policy, tokenizer, base=None)
    last = read_metrics(context.folder)[-1]
    return {
        "iterations": config.iterations,
        "prompts": len(asked),
        "dropped": dropped,
        **{
            name.split("/")[-1]: round(last[name], 4)
            for name in ("objective/kl", "objective/scores", "completions/mean_length")
            if name in last
        },
    }


def _reward(context: Context, config: PpoConfig, models: list[tuple[Any, Any]]) -> TotalReward:
    """The reward models under `from`, then the listed terms, weighted."""
    parts: list[tuple[str, Scorer, float]] = []
    for path, (model, tokenizer) in zip(context.inputs.get("reward", []), models, strict=True):
        scorer = ModelReward(path.name, model, tokenizer, config.limits.token_budget)
        parts.append((path.name, scorer, config.reward_weight))
    for source in config.rewards:
        if source.function is not None:
            parts.append((source.function, FunctionReward(source.function, source.timeout), source.weight))
        elif source.model is not None:
            scorer = ModelReward(
                source.model, load_reward_model(source.model), load_tokenizer(source.model), config.limits.token_budget
            )
            parts.append((source.model, scorer, source.weight))
    return TotalReward(parts)


def _critic(
    config: PpoConfig, models: list[tuple[Any, Any]], policy: Any, tokenizer: Any, context: Context
) -> Any | None:
    """A separate value model, from the reward model where one reads the policy's tokens, else from the policy."""
    if config.value.trunk == "shared":
        return None
    if config.value.init == "reward":
        for model, own in models:
            same = tokenizer_fingerprint(own) == tokenizer_fingerprint(tokenizer)
            if same and context_length(model) >= context_length(policy):
                return heads.value_model_from(model)
    return heads.reward_model_from(policy, tokenizer, context.seed_for("critic"))


def _prompts(context: Context, config: PpoConfig, generator: LocalGenerator) -> tuple[list[Prompt], int]:
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
            fix="limits.too_long: drop, or a smaller sampling.max_tokens",
        )
    if not fitting:
        raise DataError("no prompt leaves room for an answer", where=config.data, fix="a smaller sampling.max_tokens")
    return fitting, dropped


def _probes(config: PpoConfig, method: Ppo) -> list[Probe]:
    """In the lab: gold of the answers just sampled, beside the proxy that is being maximised."""
    if config.data != LAB:
        return []
    from assent.lab.gold import Gold

    gold = Gold()

    def probe(step: int) -> dict[str, float]:
        values = [v for row in gold.score(method.last_rollout.groups) for v in row if v is not None]
        return {"gold": sum(values) / len(values)}

    return [probe]
