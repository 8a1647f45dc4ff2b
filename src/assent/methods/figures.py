"""The figures an online method logs, under TRL's names where TRL has them (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assent.advantages.group import group_std
from assent.core.records import Group
from assent.losses.ppo import PolicyLoss
from assent.losses.value import ValueLoss
from assent.methods.rollout import Rollout
from assent.ops import kl as kls
from assent.ops.masked import explained_variance, masked_mean, masked_sum


@torch.no_grad()
def rollout_figures(rollout: Rollout) -> dict[str, float]:
    """Means over the answers of one rollout; lengths in tokens, KL in nats per answer where there is a reference."""
    mask_NT, known_N = rollout.mask_NT, rollout.known_N
    length_N = mask_NT.sum(1)[known_N].float()
    ended_N = rollout.stopped_N[known_N]
    score_N = rollout.score_N[known_N]
    figures = {
        "objective/entropy": masked_mean(-rollout.logp_NT, mask_NT),
        "objective/scores": score_N.mean(),
        "objective/scores_std": score_N.std(unbiased=False),
        "completions/mean_length": length_N.mean(),
        "completions/max_length": length_N.max(),
        "completions/clipped_ratio": 1 - ended_N.float().mean(),
        "val/num_eos_tokens": ended_N.float().sum(),
        "rewards/missing": 1 - known_N.float().mean(),
    }
    return {name: float(value) for name, value in figures.items()} | _kl_figures(rollout) | rollout.figures


def _kl_figures(rollout: Rollout) -> dict[str, float]:
    """The three estimators, summed over an answer's tokens; nothing where there is no reference."""
    if rollout.ref_logp_NT is None:
        return {}
    n = rollout.known_N.sum()
    k1, k2, k3 = (
        float(masked_sum(f(rollout.logp_NT, rollout.ref_logp_NT, rollout.mask_NT), rollout.mask_NT) / n)
        for f in (kls.k1, kls.k2, kls.k3)
    )
    return {"objective/kl": k1, "objective/kl_k2": k2, "objective/kl_k3": k3}


@torch.no_grad()
def group_figures(score_GK: Tensor, counts_GK: Tensor, flat_G: Tensor) -> dict[str, float]:
    """How much the answers to one prompt differ in score, and how many prompts say nothing."""
    return {
        "frac_reward_zero_std": float(flat_G.float().mean()),
        "objective/group_std": float(group_std(score_GK, counts_GK).mean()),
    }


@torch.no_grad()
def reward_figures(rollout: Rollout, reward: Tensor, kl_coef: float) -> dict[str, float]:
    """What is maximised, mean per answer, and what of it is the KL penalty.

    `reward` is per token [N, T] or per answer [N], 0 where there is no score.
    """
    return {
        "objective/rlhf_reward": float(reward.sum() / rollout.known_N.sum()),
        "objective/non_score_reward": -kl_coef * _kl_figures(rollout)["objective/kl"],
        "objective/kl_coef": kl_coef,
    }


@torch.no_grad()
def critic_figures(value_NT: Tensor, return_NT: Tensor, mask_NT: Tensor) -> dict[str, float]:
    """How much of the returns the value model knew beforehand."""
    return {"value/explained_variance": float(explained_variance(value_NT, return_NT, mask_NT))}


Sums = dict[str, tuple[Tensor | float, float]]
"""Figure -> (sum over real tokens, their number), of one piece of a minibatch."""


@torch.no_grad()
def update_figures(policy: PolicyLoss, logp_NT: Tensor, old_logp_NT: Tensor, mask_NT: Tensor) -> Sums:
    """How far the policy moved, and where the clip held it."""
    n = float(mask_NT.sum())

    def total(x_NT: Tensor) -> Tensor:
        return masked_sum(x_NT.to(logp_NT.dtype), mask_NT)

    return {
        "loss/policy_avg": (total(policy.loss_NT), n),
        "policy/approxkl_avg": (total(kls.k3(old_logp_NT, logp_NT, mask_NT)), n),
        "policy/clipfrac_avg": (total(policy.clipped_low_NT | policy.clipped_high_NT), n),
        "val/ratio": (total(policy.ratio_NT), n),
    }


@torch.no_grad()
def value_figures(value: ValueLoss, mask_NT: Tensor) -> Sums:
    """How well the value model knew the returns, and where its clip held it."""
    n = float(mask_NT.sum())
    return {
        "loss/value_avg": (masked_sum(value.loss_NT, mask_NT), n),
        "val/clipfrac_avg": (masked_sum(value.clipped_NT.to(value.loss_NT.dtype), mask_NT), n),
    }


def rollout_samples(rollout: Rollout, at_most: int = 4) -> list[dict[str, Any]]:
    """The first answers of a rollout, readable."""
    return answer_rows(rollout.groups, rollout.score_N.tolist())[:at_most]


def answer_rows(groups: Sequence[Group], scores: Sequence[float] | None = None) -> list[dict[str, Any]]:
    """One readable row an answer, with its score where there is one."""
    rows = []
    for i, (group, answer) in enumerate((g, a) for g in groups for a in g.answers):
        row = {"prompt": group.prompt.text, "answer": answer.text, "finish": answer.finish}
        score = {} if scores is None else {"score": round(scores[i], 4)}
        rows.append({**row, **score, "prompt_id": group.prompt.id, "answer_id": answer.id})
    return rows
