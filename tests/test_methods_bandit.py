"""The real PPO, sampler and critic and all, on answers of one token, where the optimum is known.

Maximising score - kl_coef * KL(policy || reference) ends at reference * exp(score / kl_coef), normalised.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.core.records import Prompt
from assent.data.render import encode_prompts
from assent.train import loop

ARMS, KL_COEF = 12, 0.4
SCORE_V = torch.randn(ARMS, generator=torch.Generator().manual_seed(6), dtype=torch.float64).clamp(-1.5, 1.5)


def log_policy(model, prompt: Prompt) -> Tensor:
    (ids,) = encode_prompts([prompt], tiny.tokenizer())
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double() / 0.9, 0)


def kl(p_V: Tensor, q_V: Tensor) -> float:
    return float((p_V.exp() * (p_V - q_V)).sum())


SETTINGS = {
    "kl in the reward": {"kl": {"coef": KL_COEF}},
    "kl in the reward, shared trunk": {"kl": {"coef": KL_COEF}, "value": {"trunk": "shared", "lr": 3e-2}},
    "k2 in the loss": {"kl": {"coef": KL_COEF, "place": "loss", "estimator": "k2"}, "whiten": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_ppo_reaches_the_optimum(name: str, tmp_path: Path) -> None:
    reference = tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS)
    method = made.ppo(
        torch.float32,
        rule=lambda answer: float(SCORE_V[answer.token_ids[0]]),
        policy=tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS),
        reference=reference,
        **{
            "iterations": 45,
            "prompts": 1,
            "asked": 1,
            "answers": 128,
            "minibatches": 1,
            "no_eos_penalty": 0.0,
            "sampling": {"max_tokens": 1, "temperature": 0.9},
            "optimiser": {"lr": 2e-2},
            **SETTINGS[name],
        },
    )
    method.prompts = [Prompt.ask("w0 w1")]
    ref_V = log_policy(reference, method.prompts[0])
    best_V = torch.log_softmax(ref_V + SCORE_V / KL_COEF, 0)
    assert kl(ref_V, best_V) > 0.5  # there is something to learn
    loop.run(method, made.limits(checkpoint_every=1000), tmp_path, "ppo")
    found_V = log_policy(method.policy, method.prompts[0])
    print(f"KL to the optimum: {kl(ref_V, best_V):.3f} -> {kl(found_V, best_V):.4f}")
    assert kl(found_V, best_V) < 0.02
    assert kl(found_V, torch.log_softmax(ref_V + SCORE_V / (KL_COEF / 2), 0)) > 0.05  # not another strength's
