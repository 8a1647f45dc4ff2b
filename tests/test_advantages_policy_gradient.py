"""Rewards -> advantages -> PPO loss -> one number, against the exact gradient of score - kl_coef * KL.

A policy over ragged answers small enough to enumerate: id 0 ends the answer, at most two tokens. Every
answer is a row, weighted by its probability, so the expectation over samples is exact.
"""

import itertools

import pytest
import torch
from torch import Tensor

from assent.advantages.gae import gae
from assent.advantages.kl_penalty import token_rewards
from assent.losses.ppo import policy_loss
from assent.ops.kl import k2
from ragged import normal, ragged_mask

V, KL_COEF = 3, 0.3
ANSWERS = [(0,), *itertools.product((1, 2), range(V))]
MASK_NT = ragged_mask([len(a) for a in ANSWERS])
SCORE_N = normal(len(ANSWERS), seed=1)
# Logits of the first token, then of the second after each first token.
REF_CV = torch.log_softmax(normal(1 + V, V, seed=2), -1)


def answer_logp(theta_CV: Tensor) -> Tensor:
    """logp_NT of every token of every answer; the padding gets whatever is there."""
    logp_CV = torch.log_softmax(theta_CV, -1)
    first = torch.tensor([a[0] for a in ANSWERS])
    second = torch.tensor([a[-1] for a in ANSWERS])
    return torch.stack([logp_CV[0, first], logp_CV[1 + first, second]], dim=1)


def sequence_logp(theta_CV: Tensor) -> Tensor:
    return answer_logp(theta_CV).masked_fill(~MASK_NT, 0).sum(1)


def exact_objective(theta_CV: Tensor, score_N: Tensor, kl_coef: float) -> Tensor:
    logp_N, ref_N = sequence_logp(theta_CV), sequence_logp(REF_CV)
    assert logp_N.exp().sum().item() == pytest.approx(1)
    return (logp_N.exp() * (score_N - kl_coef * (logp_N - ref_N))).sum()


def ppo_gradient(theta_CV: Tensor, score_N: Tensor, kl_coef: float, value_C: Tensor) -> Tensor:
    """First step of an epoch, lambda 1; values depend only on what is known before the token."""
    logp_NT = answer_logp(theta_CV)
    old_NT = logp_NT.detach()
    first = torch.tensor([a[0] for a in ANSWERS])
    value_NT = torch.stack([value_C[0].expand(len(ANSWERS)), value_C[1 + first]], dim=1)
    reward_NT = token_rewards(score_N, old_NT, answer_logp(REF_CV), MASK_NT, kl_coef)
    advantage_NT = gae(reward_NT, value_NT, MASK_NT, gamma=1.0, lam=1.0).advantage_NT
    loss_NT = policy_loss(logp_NT, old_NT, advantage_NT, MASK_NT).loss_NT
    probability_N = sequence_logp(theta_CV).detach().exp()
    return torch.autograd.grad((probability_N[:, None] * loss_NT).sum(), theta_CV)[0]


@pytest.fixture(name="theta_CV")
def fixed_theta() -> Tensor:
    return normal(1 + V, V, seed=3).requires_grad_()


@pytest.mark.parametrize("value_seed", [4, 5])
def test_expected_ppo_gradient_is_the_objectives(theta_CV: Tensor, value_seed: int) -> None:
    """Whatever the value model believes: a baseline changes the variance, not the mean."""
    value_C = 3 * normal(1 + V, seed=value_seed)
    exact = torch.autograd.grad(exact_objective(theta_CV, SCORE_N, KL_COEF), theta_CV)[0]
    torch.testing.assert_close(ppo_gradient(theta_CV, SCORE_N, KL_COEF, value_C), -exact, rtol=0, atol=1e-12)


def test_k1_in_the_reward_lowers_the_kl(theta_CV: Tensor) -> None:
    """Score 0, kl_coef 1: the objective is -KL, and one step must lower the KL of whole answers."""
    nothing_N, no_value = torch.zeros(len(ANSWERS)).double(), torch.zeros(1 + V).double()
    gradient = ppo_gradient(theta_CV, nothing_N, 1.0, no_value)
    before, after = (-exact_objective(x, nothing_N, 1.0) for x in (theta_CV, theta_CV - 0.1 * gradient))
    assert 0 < after < before - 1e-3


def test_k2_in_the_loss_misses_the_kl_of_what_follows(theta_CV: Tensor) -> None:
    """As `ops.kl` says: exact at the last position, not for a token that leads to more KL later."""
    nothing_N = torch.zeros(len(ANSWERS)).double()
    exact = torch.autograd.grad(-exact_objective(theta_CV, nothing_N, 1.0), theta_CV)[0]
    kl_NT = k2(answer_logp(theta_CV), answer_logp(REF_CV), MASK_NT)
    probability_N = sequence_logp(theta_CV).detach().exp()
    gradient = torch.autograd.grad((probability_N[:, None] * kl_NT).sum(), theta_CV)[0]
    torch.testing.assert_close(gradient[2:], exact[2:], rtol=0, atol=1e-12)  # second tokens
    assert (gradient[0] - exact[0]).abs().max() > 1e-3  # the first
