"""A softmax bandit, where the optimum of score - kl_coef * KL is known: ref * exp(score / kl_coef).

V arms, one token an answer. Why clipping does not bias this fixed point: every epoch starts on-policy, at
ratio 1, strictly inside the clip range, where the loss has the unclipped gradient; so a policy at which
that gradient is not zero moves. At the optimum score - kl_coef * log(policy / ref) is the same number for
every arm, the value model knows that number, every advantage is 0, and the loss is 0 at any ratio,
clipped or not. Clipping changes the way there, never the place.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assent.advantages.gae import gae
from assent.advantages.kl_penalty import token_rewards
from assent.losses.ppo import policy_loss
from assent.losses.value import value_loss
from assent.ops.kl import k2, k3
from assent.ops.masked import whiten
from assent.ops.reduce import denominator, weighted_sum, weights
from ragged import normal

V, KL_COEF = 6, 0.5
SCORE_V = normal(V, seed=1)
REF_V = torch.log_softmax(normal(V, seed=2), 0)
BEST_V = torch.log_softmax(REF_V + SCORE_V / KL_COEF, 0)
EVERY_ARM = torch.ones(V, 1, dtype=torch.bool)


def kl(p_logp: Tensor, q_logp: Tensor) -> float:
    return float((p_logp.exp() * (p_logp - q_logp)).sum())


def decayed(
    parameters: list[Tensor], lr: float, steps: int
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    optimiser = torch.optim.Adam(parameters, lr=lr)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 1 - i / steps)


def train_ppo(clip: float, iterations: int = 300, epochs: int = 4) -> tuple[Tensor, float]:
    """Exact expectation: every arm is a row weighted by the old policy. Returns log-policy, clipped share."""
    theta_V, value = REF_V.clone().requires_grad_(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser, schedule = decayed([theta_V, value], 0.05, iterations)
    clipped = 0.0
    for _ in range(iterations):
        old_NT = torch.log_softmax(theta_V, 0).detach()[:, None]
        old_value_NT = value.detach().expand(V, 1)
        reward_NT = token_rewards(SCORE_V, old_NT, REF_V[:, None], EVERY_ARM, KL_COEF)
        advantage_NT, return_NT = gae(reward_NT, old_value_NT, EVERY_ARM)
        for _ in range(epochs):
            logp_NT = torch.log_softmax(theta_V, 0)[:, None]
            policy = policy_loss(logp_NT, old_NT, advantage_NT, EVERY_ARM, clip, clip)
            critic = value_loss(value.expand(V, 1), old_value_NT, return_NT, EVERY_ARM)
            optimiser.zero_grad()
            weighted_sum(policy.loss_NT + critic.loss_NT, old_NT.exp()).backward()
            optimiser.step()
            clipped += (policy.clipped_low_NT | policy.clipped_high_NT).double().mean().item()
        schedule.step()
    return torch.log_softmax(theta_V, 0).detach(), clipped / (iterations * epochs)


def test_ppo_reaches_the_closed_form() -> None:
    assert kl(REF_V, BEST_V) > 0.3  # there is something to learn
    policy_V, clipped = train_ppo(clip=0.02)
    assert clipped > 0.01  # the clip was at work on the way
    assert kl(policy_V, BEST_V) < 1e-5
    free_V, never = train_ppo(clip=1e9)
    assert never == 0 and kl(free_V, BEST_V) < 1e-5


def test_ppo_from_samples_with_whitened_advantages_reaches_it_too() -> None:
    """Whitening divides by a standard deviation that goes to 0 with the advantages: same fixed point."""
    seed, n, iterations = 3, 256, 400
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    theta_V, value = REF_V.clone().requires_grad_(), 0.0
    optimiser, schedule = decayed([theta_V], 0.05, iterations)
    mask_NT = torch.ones(n, 1, dtype=torch.bool)
    for _ in range(iterations):
        old_V = torch.log_softmax(theta_V, 0).detach()
        arm_N = torch.multinomial(old_V.exp(), n, replacement=True, generator=generator)
        old_NT = old_V[arm_N][:, None]
        reward_NT = token_rewards(SCORE_V[arm_N], old_NT, REF_V[arm_N][:, None], mask_NT, KL_COEF)
        advantage_NT, return_NT = gae(reward_NT, torch.full((n, 1), value).double(), mask_NT)
        value = float(return_NT.mean())
        for _ in range(2):
            logp_NT = torch.log_softmax(theta_V, 0)[arm_N][:, None]
            loss_NT = policy_loss(logp_NT, old_NT, whiten(advantage_NT, mask_NT), mask_NT).loss_NT
            optimiser.zero_grad()
            loss = weighted_sum(loss_NT, weights(mask_NT, "token", torch.float64)) / denominator(mask_NT, "token")
            loss.backward()
            optimiser.step()
        schedule.step()
    assert kl(torch.log_softmax(theta_V, 0).detach(), BEST_V) < 1e-3


def train_with_kl_in_the_loss(estimator: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    theta_V = REF_V.clone().requires_grad_()
    optimiser, schedule = decayed([theta_V], 0.05, 1500)
    for _ in range(1500):
        logp_V = torch.log_softmax(theta_V, 0)
        old_V = logp_V.detach()
        advantage_V = SCORE_V - (old_V.exp() * SCORE_V).sum()
        loss_NT = policy_loss(logp_V[:, None], old_V[:, None], advantage_V[:, None], EVERY_ARM).loss_NT
        loss_NT = loss_NT + KL_COEF * estimator(logp_V[:, None], REF_V[:, None], EVERY_ARM)
        optimiser.zero_grad()
        weighted_sum(loss_NT, old_V.exp()[:, None]).backward()
        optimiser.step()
        schedule.step()
    return torch.log_softmax(theta_V, 0).detach()


def test_k2_in_the_loss_reaches_it_and_k3_another_point() -> None:
    """k3 settles where policy * (score - mean) = kl_coef * (policy - ref): the forward KL's optimum.

    Solved for the policy: kl_coef * ref / (kl_coef + mean - score), `mean` chosen so that it sums to 1.
    """
    assert kl(train_with_kl_in_the_loss(k2), BEST_V) < 1e-5
    low = SCORE_V.max().item() - KL_COEF
    high = low + 100
    for _ in range(200):
        mean = (low + high) / 2
        total = (KL_COEF * REF_V.exp() / (KL_COEF + mean - SCORE_V)).sum().item()
        low, high = (mean, high) if total > 1 else (low, mean)
    forward_V = torch.log(KL_COEF * REF_V.exp() / (KL_COEF + high - SCORE_V))
    assert math.isclose(forward_V.exp().sum().item(), 1, abs_tol=1e-9)
    settled_V = train_with_kl_in_the_loss(k3)
    assert kl(settled_V, forward_V) < 1e-5
    assert kl(settled_V, BEST_V) > 0.01
