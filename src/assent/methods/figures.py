"""The figures an online method logs, under TRL's names where TRL has them (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assent.core.records import Group
from assent.losses.ppo import PolicyLoss
from assent.losses.value import ValueLoss
from assent.methods.rollout import Rollout
from assent.ops import kl as kls
from assent.ops.masked import masked_mean, masked_sum


@torch.no_grad()
def rollout_figures(rollout: Rollout, reward_NT: Tensor, kl_coef: float) -> dict[str, float]:
    """Means over the answers of one rollout; lengths in tokens, KL in nats per answer."""
    mask_NT, known_N = rollout.mask_NT, rollout.known_N
    logp_NT, ref_NT = rollout.logp_NT, rollout.ref_logp_NT
    n = known_N.sum()
    length_N = mask_NT.sum(1)[known_N].float()
    kl = {
        name: masked_sum(f(logp_NT, ref_NT, mask_NT), mask_NT) / n
        for name, f in (("k1", kls.k1), ("k2", kls.k2), ("k3", kls.k3))
    }
    ended_N = rollout.stopped_N[known_N]
    score_N = rollout.score_N[known_N]
    figures = {
        "objective/kl": kl["k1"],
        "objective/kl_k2": kl["k2"],
        "objective/kl_k3": kl["k3"],
        "objective/entropy": masked_mean(rollout.entropy_NT, mask_NT),
        "objective/scores": score_N.mean(),
        "objective/scores_std": score_N.std(unbiased=False),
        "objective/rlhf_reward": reward_NT.sum() / n,
        "objective/non_score_reward": -kl_coef * kl["k1"],
        "objective/kl_coef": torch.tensor(kl_coef),
        "completions/mean_length": length_N.mean(),
        "completions/max_length": length_N.max(),
        "completions/clipped_ratio": 1 - ended_N.float().mean(),
        "val/num_eos_tokens": ended_N.float().sum(),
        "rewards/missing": 1 - known_N.float().mean(),
    }
    return {name: float(value) for name, value in figures.items()} | rollout.figures


@torch.no_grad()
def update_figures(
    policy: PolicyLoss, value: ValueLoss, logp_NT: Tensor, old_logp_NT: Tensor, mask_NT: Tensor
) -> dict[str, tuple[Tensor | float, float]]:
    """Sums over real tokens, with their count, of one piece of a minibatch."""
    n = float(mask_NT.sum())

    def total(x_NT: Tensor) -> Tensor:
        return masked_sum(x_NT.to(logp_NT.dtype), mask_NT)

    return {
        "loss/policy_avg": (total(policy.loss_NT), n),
        "loss/value_avg": (total(value.loss_NT), n),
        "policy/approxkl_avg": (total(kls.k3(old_logp_NT, logp_NT, mask_NT)), n),
        "policy/clipfrac_avg": (total(policy.clipped_low_NT | policy.clipped_high_NT), n),
        "val/clipfrac_avg": (total(value.clipped_NT), n),
        "val/ratio": (total(policy.ratio_NT), n),
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
