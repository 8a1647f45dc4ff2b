"""The real methods, sampler and critic and all, on answers of one token, where the optimum is known.

Maximising score - kl_coef * KL(policy || reference) ends at reference * exp(score / kl_coef), normalised.
"""

import math
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.config.preferences import PreferenceLoss
from assent.core.records import Answer, Prompt
from assent.data.collate import TokenGroup
from assent.data.render import encode_prompts
from assent.methods.dpo import Dpo
from assent.methods.pairs import Pair, RankedItem
from assent.train import loop

ARMS, KL_COEF = 12, 0.4
SCORE_V = torch.randn(ARMS, generator=torch.Generator().manual_seed(6), dtype=torch.float64).clamp(-1.5, 1.5)


def log_policy(model, prompt: Prompt, temperature: float = 0.9) -> Tensor:
    (ids,) = encode_prompts([prompt], tiny.tokenizer())
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double() / temperature, 0)


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


def preferences(win_VV: Tensor) -> RankedItem:
    """Every two arms with the probability that the one beats the other: exact preference data, one judgment."""
    n = ARMS * (ARMS - 1) / 2
    pairs = []
    for i, j in combinations(range(ARMS), 2):
        better, worse = (i, j) if win_VV[i, j] >= 0.5 else (j, i)
        pairs.append(Pair(better, worse, 1 / n, prob=float(win_VV[better, worse])))
    (prompt_ids,) = encode_prompts([Prompt.ask("w0 w1")], tiny.tokenizer())
    arms = tuple((arm,) for arm in range(ARMS))
    group = TokenGroup("bandit", tuple(prompt_ids), arms, tuple(f"arm{arm}" for arm in range(ARMS)))
    return RankedItem(group, tuple(pairs))


def counted(item: RankedItem) -> RankedItem:
    """The same data without soft labels: each pair both ways, as often as either answer wins."""
    pairs = [Pair(p.better, p.worse, p.weight * p.prob) for p in item.pairs]
    pairs += [Pair(p.worse, p.better, p.weight * (1 - p.prob)) for p in item.pairs]
    return RankedItem(item.group, tuple(pairs))


WIN_VV = torch.sigmoid(SCORE_V[:, None] - SCORE_V)
"""Bradley-Terry preferences of the scores."""
SMOOTHING = 0.15


def mixed(win_VV: Tensor) -> Tensor:
    """Preferences of which a share of the labels was flipped."""
    return SMOOTHING + (1 - 2 * SMOOTHING) * win_VV


def bradley_terry_fit(win_VV: Tensor) -> Tensor:
    """Strengths whose Bradley-Terry preferences are the likeliest for these: Newton's method on the likelihood."""
    strength_V = torch.zeros(ARMS, dtype=torch.float64)
    for _ in range(50):
        p_VV = torch.sigmoid(strength_V[:, None] - strength_V)
        slope_V = (win_VV - p_VV).sum(1)
        curve_VV = p_VV * (1 - p_VV)
        hessian_VV = torch.diag(curve_VV.sum(1)) - curve_VV + 1 / ARMS  # the constant, which is free, stays at 0
        strength_V = strength_V + torch.linalg.solve(hessian_VV, slope_V)
    assert float(slope_V.abs().max()) < 1e-12
    return strength_V


FAMILY: dict[str, tuple[dict[str, Any], Tensor, Tensor]] = {
    # Where KL-regularised reinforcement learning ends with kl_coef = beta, without ever seeing a score.
    "dpo": ({}, WIN_VV, SCORE_V / KL_COEF),
    # DPO's for labels of which a share is wrong: a weaker policy.
    "cdpo": ({"loss": "cdpo", "label_smoothing": SMOOTHING}, WIN_VV, bradley_terry_fit(mixed(WIN_VV)) / KL_COEF),
    # DPO's, though a share of the labels is wrong.
    "robust": ({"loss": "robust", "label_smoothing": SMOOTHING}, mixed(WIN_VV), SCORE_V / KL_COEF),
    # How often an arm beats the others, not its score (Azar et al. 2023, theorem 1).
    "ipo": ({"loss": "ipo"}, WIN_VV, WIN_VV.mean(1) / KL_COEF),
}
"""Loss -> its settings, the preferences it sees, and log(policy / reference) at its optimum, up to a constant."""


@pytest.mark.parametrize("how", ["soft labels", "counts"])
@pytest.mark.parametrize("loss", FAMILY)
def test_the_dpo_family_reaches_its_optima_from_exact_preferences(loss: str, how: str, tmp_path: Path) -> None:
    told, win_VV, lead_V = FAMILY[loss]
    policy, prompt = tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS), Prompt.ask("w0 w1")
    ref_V = log_policy(policy, prompt, 1.0)
    best_V = torch.log_softmax(ref_V + lead_V, 0)
    assert kl(ref_V, best_V) > 0.1  # there is something to learn
    item = preferences(win_VV) if how == "soft labels" else counted(preferences(win_VV))
    settings = PreferenceLoss(beta=KL_COEF, **told)
    optimiser = made.OPTIMISER.model_copy(update={"lr": 1e-2, "weight_decay": 0.0})
    method = Dpo(policy, policy, [item], optimiser, settings=settings, batch=1, steps=200, seed=0, token_budget=10**6)
    loop.run(method, made.limits(checkpoint_every=1000, log_every=100), tmp_path, "dpo")
    found_V = log_policy(policy, prompt, 1.0)
    others = [torch.log_softmax(ref_V + lead, 0) for _, _, lead in FAMILY.values() if not lead.equal(lead_V)]
    print(f"KL to the optimum: {kl(ref_V, best_V):.3f} -> {kl(found_V, best_V):.6f}")
    assert kl(found_V, best_V) < 1e-3
    assert min(kl(found_V, other_V) for other_V in others) > 0.03  # not another member's
    assert kl(found_V, torch.log_softmax(ref_V + 2 * lead_V, 0)) > 0.03  # not another strength's


def train_online_dpo(folder: Path, noise: bool, iterations: int, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Log-policies before and after. With noise of Gumbel's kind the higher of two scores is a Bradley-Terry label."""
    draw = random.Random(8)

    def rule(answer: Answer) -> float:
        return float(SCORE_V[answer.token_ids[0]]) - (math.log(draw.expovariate(1.0)) if noise else 0.0)

    start = tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS)
    method = made.online_dpo(
        torch.float32,
        rule=rule,
        policy=tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS),
        reference=start,
        beta=KL_COEF,
        soft=soft,
        iterations=iterations,
        prompts=1,
        asked=1,
        answers=96,
        epochs=1,
        minibatches=1,
        no_eos_penalty=0.0,
        sampling={"max_tokens": 1, "temperature": 0.9},
        optimiser={"lr": 2e-2},
    )
    method.prompts = [Prompt.ask("w0 w1")]
    loop.run(method, made.limits(checkpoint_every=1000), folder, "online_dpo")
    return log_policy(start, method.prompts[0]), log_policy(method.policy, method.prompts[0])


def test_online_dpo_with_bradley_terry_labels_reaches_ppos_optimum(tmp_path: Path) -> None:
    """At reference * exp(score / beta) every pair's expected gradient is 0, whatever policy drew the pair."""
    ref_V, found_V = train_online_dpo(tmp_path, noise=True, iterations=100)
    best_V = torch.log_softmax(ref_V + SCORE_V / KL_COEF, 0)
    print(f"KL to the optimum: {kl(ref_V, best_V):.3f} -> {kl(found_V, best_V):.4f}")
    assert kl(found_V, best_V) < 0.03
    assert kl(found_V, torch.log_softmax(ref_V + SCORE_V / (KL_COEF / 2), 0)) > 0.1


def test_online_dpo_with_soft_labels_needs_no_noise_to_reach_it(tmp_path: Path) -> None:
    ref_V, found_V = train_online_dpo(tmp_path, noise=False, iterations=60, soft=True)
    best_V = torch.log_softmax(ref_V + SCORE_V / KL_COEF, 0)
    print(f"KL to the optimum: {kl(ref_V, best_V):.3f} -> {kl(found_V, best_V):.4f}")
    assert kl(found_V, best_V) < 0.03
    assert kl(found_V, torch.log_softmax(ref_V + SCORE_V / (KL_COEF / 2), 0)) > 0.1


def test_online_dpo_on_the_scores_themselves_goes_on_to_the_best_arm(tmp_path: Path) -> None:
    """A score says who wins and not how surely, so no lead is enough: beta sets the pace and no place to rest."""
    ref_V, found_V = train_online_dpo(tmp_path, noise=False, iterations=60)
    best, best_V = int(SCORE_V.argmax()), torch.log_softmax(ref_V + SCORE_V / KL_COEF, 0)
    print(
        f"best arm: {float(ref_V[best].exp()):.3f} -> {float(found_V[best].exp()):.3f}, {float(best_V[best].exp()):.3f}"
    )
    assert float(found_V[best].exp()) > 0.9 > float(best_V[best].exp()) + 0.1


def train_grpo(folder: Path, score_V: Tensor, coef: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Log-policies before and after, from one group of 128 answers an iteration."""
    start = tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS)
    method = made.grpo(
        torch.float32,
        rule=lambda answer: float(score_V[answer.token_ids[0]]),
        policy=tiny.policy(seed=2, dtype=torch.float32, vocab_size=ARMS),
        reference=start if coef else None,
        iterations=iterations,
        prompts=1,
        asked=1,
        answers=128,
        minibatches=1,
        no_eos_penalty=0.0,
        kl={"coef": coef, "estimator": "k2"},
        sampling={"max_tokens": 1, "temperature": 0.9},
        optimiser={"lr": 2e-2},
    )
    method.prompts = [Prompt.ask("w0 w1")]
    loop.run(method, made.limits(checkpoint_every=1000), folder, "grpo")
    return log_policy(start, method.prompts[0]), log_policy(method.policy, method.prompts[0])


def self_consistent(ref_V: Tensor, score_V: Tensor, coef: float) -> Tensor:
    """Where GRPO with k2 in the loss rests: advantages are in deviations of the policy's own scores, so the
    strength is coef times that deviation. Solved by damped iteration from the reference."""
    found_V = ref_V
    for _ in range(500):
        p_V = found_V.exp()
        std = ((p_V * score_V.square()).sum() - (p_V * score_V).sum().square()).sqrt()
        found_V = torch.log_softmax(0.5 * found_V + 0.5 * (ref_V + score_V / (coef * (std + 1e-4))), 0)
    return found_V


def test_grpo_with_k2_reaches_its_own_fixed_point_which_is_not_ppos(tmp_path: Path) -> None:
    """Scores on a small scale, which the deviation takes out: GRPO goes farther than the same kl_coef lets PPO."""
    small_V = 0.3 * SCORE_V
    ref_V, found_V = train_grpo(tmp_path, small_V, 1.0, 60)
    own_V, plain_V = self_consistent(ref_V, small_V, 1.0), torch.log_softmax(ref_V + small_V, 0)
    print(f"KL: {kl(ref_V, own_V):.3f} -> {kl(found_V, own_V):.4f}; to PPO's {kl(found_V, plain_V):.3f}")
    assert kl(found_V, own_V) < 0.02
    assert kl(found_V, plain_V) > 0.2


def test_grpo_without_kl_moves_to_the_best_arm(tmp_path: Path) -> None:
    ref_V, found_V = train_grpo(tmp_path, SCORE_V, 0.0, 25)
    best = int(SCORE_V.argmax())
    before, after = (float((x_V.exp() * SCORE_V).sum()) for x_V in (ref_V, found_V))
    print(f"score {before:.2f} -> {after:.2f} of {float(SCORE_V.max()):.2f}; best arm {float(found_V[best].exp()):.2f}")
    assert after > before + 0.5 and after > 0.8 * float(SCORE_V.max())
