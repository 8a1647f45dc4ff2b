"""PPO: the policy against its reward, on a leash to where it started."""

from __future__ import annotations

from typing import Any

from assent.config.steps import PpoConfig
from assent.data.render import tokenizer_fingerprint
from assent.engine.generate import LocalGenerator
from assent.methods.ppo import Ppo
from assent.models import adapters, heads
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.steps import online
from assent.steps.context import Context
from assent.steps.export import export, plan
from assent.train.loop import run


def step(context: Context, config: PpoConfig) -> dict[str, Any]:
    """Load policy, reference, reward and critic; train; export."""
    folder = context.model_input("policy")
    assert folder is not None
    tokenizer = load_tokenizer(folder)
    policy = adapters.adapt(load_policy(folder), config.adapter, context.seed_for("adapter"))
    reference = adapters.reference_of(policy, folder)
    models = online.reward_models(context, policy)
    reward = online.reward(context, config, models)
    generator = LocalGenerator(policy, tokenizer, context.name, config.sampling, config.limits.token_budget)
    asked, dropped = online.asked(context, config, generator, reward)
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
        *online.load(config, asked, tokenizer),
        **online.planned(config, len(asked), dropped),
    )
    run(method, config.limits, context.folder, context.name, online.probes(config, method))
    export(context, policy, tokenizer, base=None)
    return online.headline(context, config, len(asked), dropped)


def _critic(
    config: PpoConfig, models: list[tuple[Any, Any]], policy: Any, tokenizer: Any, context: Context
) -> Any | None:
    """A separate value model, from the reward model where one reads the policy's tokens, else from the policy.

    With an adapter it is one more adapter on weights that are held anyway.
    """
    if config.value.trunk == "shared":
        return None
    seed, adapter = context.seed_for("critic"), config.adapter
    start = _readable(models, policy, tokenizer) if config.value.init == "reward" else None
    if start is not None:
        return heads.value_model_from(start) if adapter is None else adapters.value_model_from(start, adapter, seed)
    if adapter is None:
        return heads.reward_model_from(policy, tokenizer, seed)
    return adapters.value_model_on(policy, tokenizer, adapter, seed)


def _readable(models: list[tuple[Any, Any]], policy: Any, tokenizer: Any) -> Any | None:
    """The first reward model that can read what the policy writes, id by id."""
    for model, own in models:
        same = tokenizer_fingerprint(own) == tokenizer_fingerprint(tokenizer)
        if same and context_length(model) >= context_length(policy):
            return model
    return None
