"""Every method on tiny models, as the steps would put them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch

import tiny
from assent.config.blocks import Limits, Optimiser, Sampling
from assent.config.steps import GrpoConfig, OnlineDpoConfig, PpoConfig, PreferenceLoss, RlooConfig
from assent.core.records import Answer, Group
from assent.engine.generate import LocalGenerator
from assent.methods.dpo import Dpo
from assent.methods.grpo import Grpo
from assent.methods.online_dpo import OnlineDpo
from assent.methods.pairs import Pair, RankedItem
from assent.methods.ppo import Ppo
from assent.methods.reward import Reward
from assent.methods.rloo import Rloo
from assent.methods.sft import Sft
from assent.rewards.total import TotalReward
from assent.train import loop
from assent.train.optimiser import adamw

STOP = [tiny.EOS, 10, 20, 30]
"""A random model rarely writes <eos>: more ids that end an answer, so that both endings are met."""
OPTIMISER = Optimiser(lr=1e-2, warmup=0.2, weight_decay=0.01)


def sft(dtype: torch.dtype = torch.float64, *, n: int = 12, batch: int = 8, steps: int = 10, **changes: Any) -> Sft:
    rows = tiny.groups(n, seed=21, answers=1)
    optimiser = OPTIMISER.model_copy(update=changes)
    return Sft(tiny.policy(dtype=dtype), rows, optimiser, batch=batch, steps=steps, seed=1)


def ranked(n: int, seed: int = 22) -> list[RankedItem]:
    """Groups of 2 to 4 answers with all pairs of one ranking, weight 1 / their number, some with a margin."""
    draw, items = random.Random(seed), []
    for group in tiny.groups(4 * n, seed=seed, answers=4):
        k = len(group.answers)
        # Equal answers make no pair: the sign of their difference would be rounding.
        pairs = list(combinations(range(k), 2)) if len(set(group.answers)) == k else []
        found = [Pair(w, other, 1 / len(pairs), draw.choice([0.0, 0.5])) for w, other in pairs]
        if found:
            items.append(RankedItem(group, tuple(found)))
    return items[:n]


def reward(
    dtype: torch.dtype = torch.float64,
    *,
    n: int = 12,
    batch: int = 8,
    steps: int = 10,
    centre: float = 0.01,
    **changes: Any,
) -> Reward:
    optimiser = OPTIMISER.model_copy(update=changes)
    return Reward(tiny.reward_model(dtype=dtype), ranked(n), optimiser, centre=centre, batch=batch, steps=steps, seed=1)


class ByRule:
    """A reward that is a plain function of an answer."""

    def __init__(self, rule: Callable[[Answer], float | None]) -> None:
        self.rule = rule

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        return [[self.rule(answer) for answer in group.answers] for group in groups]


def even_words(answer: Answer) -> float:
    """Share of words with an even number, minus one half."""
    words = [w for w in answer.text.split() if w.startswith("w")]
    return sum(int(w[1:]) % 2 == 0 for w in words) / len(words) - 0.5 if words else 0.0


def ppo_config(**changes: Any) -> PpoConfig:
    nested = {
        "value": {"lr": 1e-2},
        "optimiser": {"lr": 3e-3, "eps": 1e-5, "schedule": "linear", "warmup": 0.0},
    }
    given = {
        "from": {"policy": "sft"},
        "rewards": [{"function": "any:thing"}],
        "iterations": 10,
        "prompts": 8,
        "answers": 1,
        "epochs": 2,
        "minibatches": 2,
        "sampling": {"max_tokens": 6, "temperature": 0.9},
        "limits": {"token_budget": 10**6},
        **changes,
    }
    for block, defaults in nested.items():
        given[block] = {**defaults, **given.get(block, {})}
    return PpoConfig.model_validate(given)


def ppo(
    dtype: torch.dtype = torch.float64,
    *,
    rule: Callable[[Answer], float | None] = even_words,
    policy: Any = None,
    reference: Any = None,
    asked: int = 8,
    seed: int = 3,
    **changes: Any,
) -> Ppo:
    """`changes` are keys of the ppo step; `value.trunk: shared` leaves out the critic."""
    config = ppo_config(**changes)
    policy = tiny.policy(dtype=dtype) if policy is None else policy
    reference = tiny.policy(dtype=dtype) if reference is None else reference
    policy.generation_config.eos_token_id = STOP
    critic = None if config.value.trunk == "shared" else tiny.reward_model(seed=5, dtype=dtype)
    sampling = Sampling(**config.sampling.model_dump())
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", sampling)
    total = TotalReward([("rule", ByRule(rule), 1.0)])
    return Ppo(generator, reference.requires_grad_(False), total, critic, tiny.prompts(asked), config, seed)


def dpo(
    dtype: torch.dtype = torch.float64,
    *,
    n: int = 12,
    batch: int = 8,
    steps: int = 10,
    beta: float = 0.3,
    reference: Any = None,
    items: list[RankedItem] | None = None,
    told: dict[str, Any] | None = None,
    **changes: Any,
) -> Dpo:
    """The reference is the policy at its start, unless another is given; `told` is what the loss is told."""
    policy = tiny.policy(dtype=dtype)
    optimiser = OPTIMISER.model_copy(update=changes)
    settings = PreferenceLoss(**{"beta": beta, **(told or {})})
    how = {"settings": settings, "batch": batch, "steps": steps, "seed": 1, "token_budget": 10**6}
    items = ranked(n) if items is None else items
    return Dpo(policy, policy if reference is None else reference, items, optimiser, **how)


def grpo_config(**changes: Any) -> GrpoConfig:
    given = {
        "from": {"policy": "sft"},
        "rewards": [{"function": "any:thing"}],
        "iterations": 10,
        "prompts": 4,
        "answers": 3,
        "epochs": 2,
        "minibatches": 2,
        "sampling": {"max_tokens": 6, "temperature": 0.9},
        "limits": {"token_budget": 10**6},
        **changes,
    }
    given["optimiser"] = {"lr": 3e-3, "eps": 1e-5, "schedule": "linear", "warmup": 0.0, **given.get("optimiser", {})}
    return GrpoConfig.model_validate(given)


def grpo(
    dtype: torch.dtype = torch.float64,
    *,
    rule: Callable[[Answer], float | None] = even_words,
    policy: Any = None,
    reference: Any = None,
    asked: int = 8,
    seed: int = 3,
    **changes: Any,
) -> Grpo:
    """`changes` are keys of the grpo step; without a KL term no reference is kept, unless one is given."""
    config = grpo_config(**changes)
    policy = tiny.policy(dtype=dtype) if policy is None else policy
    if reference is None and config.kl.coef:
        reference = tiny.policy(dtype=dtype)
    policy.generation_config.eos_token_id = STOP
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", Sampling(**config.sampling.model_dump()))
    total = TotalReward([("rule", ByRule(rule), 1.0)])
    return Grpo(generator, reference, total, tiny.prompts(asked), config, seed)


def limits(**changes: int) -> Limits:
    return Limits(**{"token_budget": 10**6, "log_every": 1, "checkpoint_every": 2, **changes})


def one_iteration(method: Any, step: int = 0) -> list[dict[str, float]]:
    """Figures of every update of an iteration."""
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    results = []
    for batch in method.batches(step):
        batch.result = loop.update(method, optimisers, batch, 10**6)
        results.append(batch.result)
    method.observe(step)
    return results


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(left, right, strict=True))


def rloo(
    dtype: torch.dtype = torch.float64,
    *,
    rule: Callable[[Answer], float | None] = even_words,
    policy: Any = None,
    reference: Any = None,
    asked: int = 8,
    seed: int = 3,
    **changes: Any,
) -> Rloo:
    """`changes` are keys of the rloo step, whose KL is on; the other settings are those of `grpo`."""
    optimiser = {"optimiser": changes.pop("optimiser", {})}
    usual = grpo_config(**optimiser).model_dump(by_alias=True, exclude_unset=True)
    config = RlooConfig.model_validate({**usual, **changes})
    policy = tiny.policy(dtype=dtype) if policy is None else policy
    if reference is None and config.kl.coef:
        reference = tiny.policy(dtype=dtype)
    policy.generation_config.eos_token_id = STOP
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", Sampling(**config.sampling.model_dump()))
    total = TotalReward([("rule", ByRule(rule), 1.0)])
    return Rloo(generator, reference, total, tiny.prompts(asked), config, seed)


def mostly_even(answer: Answer) -> float:
    """Whether more words are even than odd: of few answers all are alike now and then."""
    return float(even_words(answer) > 0)


def online_dpo(
    dtype: torch.dtype = torch.float64,
    *,
    rule: Callable[[Answer], float | None] = even_words,
    policy: Any = None,
    reference: Any = None,
    asked: int = 8,
    seed: int = 3,
    **changes: Any,
) -> OnlineDpo:
    """`changes` are keys of the online_dpo step; the other settings are those of `grpo`. SimPO has no reference."""
    optimiser = {"optimiser": changes.pop("optimiser", {})}
    usual = grpo_config(**optimiser).model_dump(by_alias=True, exclude_unset=True)
    config = OnlineDpoConfig.model_validate({**usual, "beta": 0.3, **changes})
    policy = tiny.policy(dtype=dtype) if policy is None else policy
    if reference is None and config.loss != "simpo":
        reference = tiny.policy(dtype=dtype)
    policy.generation_config.eos_token_id = STOP
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", config.sampling)
    total = TotalReward([("rule", ByRule(rule), 1.0)])
    return OnlineDpo(generator, reference, total, tiny.prompts(asked), config, seed)
