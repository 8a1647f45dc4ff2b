"""GRPO and RLOO, sampler and all, on answers of one token, where each setting's fixed point is known.

Maximising score - kl_coef * KL(policy || reference) ends at reference * exp(score / kl_coef), normalised. KL in the
score reaches it, and so does k2 in the loss without a deviation. k3 in the loss rests elsewhere: where
policy (score - mean) = kl_coef (policy - reference).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.core.records import Prompt
from assent.train import loop
from test_methods_bandit import ARMS, KL_COEF, SCORE_V, kl, log_policy

PROMPT = Prompt.ask("w0 w1")


def train(folder: Path, build: Callable[..., Any], score_V: Tensor = SCORE_V, **changes: Any) -> tuple[Tensor, Tensor]:
    """Log-policies before and after, from one group of 128 answers an iteration."""
    start = tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS)
    method = build(
        torch.float32,
        rule=lambda answer: float(score_V[answer.token_ids[0]]),
        policy=tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS),
        reference=start,
        **{
            "iterations": 45,
            "prompts": 1,
            "asked": 1,
            "answers": 128,
            "minibatches": 1,
            "no_eos_penalty": 0.0,
            "sampling": {"max_tokens": 1, "temperature": 0.9},
            "optimiser": {"lr": 2e-2},
            **changes,
        },
    )
    method.prompts = [PROMPT]
    loop.run(method, made.limits(checkpoint_every=1000, log_every=100), folder, "bandit")
    return log_policy(start, PROMPT), log_policy(method.policy, PROMPT)


def optimum(ref_V: Tensor, coef: float = KL_COEF) -> Tensor:
    return torch.log_softmax(ref_V + SCORE_V / coef, 0)


def forward_optimum(ref_V: Tensor, coef: float = KL_COEF, by_deviation: bool = False) -> Tensor:
    """policy = c reference / (c + mean - score), `mean` chosen so that it sums to 1; c: coef, or coef times the
    policy's own deviation of scores, found by going round."""
    strength = coef
    for _ in range(60):
        low = float(SCORE_V.max()) - strength
        high = low + 100
        for _ in range(100):
            mean = (low + high) / 2
            total = float((strength * ref_V.exp() / (strength + mean - SCORE_V)).sum())
            low, high = (mean, high) if total > 1 else (low, mean)
        p_V = strength * ref_V.exp() / (strength + high - SCORE_V)
        if not by_deviation:
            break
        variance = float((p_V * SCORE_V.square()).sum() - (p_V * SCORE_V).sum().square())
        strength = 0.5 * strength + 0.5 * coef * (variance**0.5 + 1e-4)
    assert abs(float(p_V.sum()) - 1) < 1e-9
    return p_V.log()


AT_THE_OPTIMUM: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "rloo": (made.rloo, {"kl": {"coef": KL_COEF}}),
    "rloo, whitened": (made.rloo, {"kl": {"coef": KL_COEF}, "whiten": True}),
    "grpo, kl in the score": (made.grpo, {"kl": {"coef": KL_COEF, "place": "reward"}, "scale": "none"}),
    "grpo, kl in the score, by the deviation": (made.grpo, {"kl": {"coef": KL_COEF, "place": "reward"}}),
    "grpo, k2 in the loss": (made.grpo, {"kl": {"coef": KL_COEF, "estimator": "k2"}, "scale": "none"}),
}


@pytest.mark.parametrize("name", AT_THE_OPTIMUM)
def test_the_optimum_is_reached(name: str, tmp_path: Path) -> None:
    build, changes = AT_THE_OPTIMUM[name]
    ref_V, found_V = train(tmp_path, build, **changes)
    best_V = optimum(ref_V)
    print(f"KL to the optimum: {kl(ref_V, best_V):.3f} -> {kl(found_V, best_V):.4f}")
    assert kl(ref_V, best_V) > 0.5
    assert kl(found_V, best_V) < 0.02
    assert kl(found_V, optimum(ref_V, KL_COEF / 2)) > 0.05  # not another strength's
    assert kl(found_V, forward_optimum(ref_V)) > 0.05  # not the other KL's


@pytest.mark.parametrize("scale", ["none", "group"])
def test_grpo_with_k3_rests_elsewhere(scale: str, tmp_path: Path) -> None:
    """With the deviation, GRPO's own convention, its kl_coef counts deviations of the policy's scores."""
    ref_V, found_V = train(tmp_path, made.grpo, kl={"coef": KL_COEF, "estimator": "k3"}, scale=scale)
    own_V, best_V = forward_optimum(ref_V, by_deviation=scale == "group"), optimum(ref_V)
    print(f"KL: {kl(ref_V, own_V):.3f} -> {kl(found_V, own_V):.4f}; to the optimum {kl(found_V, best_V):.3f}")
    assert kl(ref_V, own_V) > 0.1
    assert kl(found_V, own_V) < 0.02
    assert kl(found_V, best_V) > 0.05
