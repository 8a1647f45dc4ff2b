"""From prompts to experience: sample, score, and check that sampler and trainer agree.

G groups of K answers; N = all answers; T answer positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assent.core.console import log
from assent.core.errors import RewardError, TrainingError
from assent.core.protocols import Scorer
from assent.core.records import Group, Prompt
from assent.data.collate import TokenGroup
from assent.engine import score_all
from assent.engine.generate import LocalGenerator, Sampled
from assent.ops.importance import effective_sample_share, truncated_weight
from assent.ops.masked import masked_mean

AGREE, AGREE_FLOAT64 = 1e-4, 1e-9
"""Largest log-prob difference between cached stepping and a full pass that counts as rounding."""
REFUSE = 0.1
"""Mean difference, in nats a token, beyond which sampler and trainer are different models; two kernels in
bf16 stay an order of magnitude below it, a temperature that one of them forgot does not."""
START = 1e-4
"""Largest difference, in nats on any token, between the policy before its first update and the reference."""
START_SAMPLER = 1e-2
"""The same between sampler and trainer, in fp32 or wider: a hundred times their rounding."""


@dataclass
class Rollout:
    """One batch of sampled answers with everything PPO needs before credit is spread."""

    sampled: Sampled
    mask_NT: Tensor
    """Real answer tokens, EOS included; answers without a score are masked out whole."""
    logp_NT: Tensor
    ref_logp_NT: Tensor
    entropy_NT: Tensor
    importance_NT: Tensor
    score_N: Tensor
    """Raw scores; 0 where missing (and masked out)."""
    known_N: Tensor
    stopped_N: Tensor
    figures: dict[str, float]

    @property
    def groups(self) -> list[Group]:
        """The answers as records."""
        return self.sampled.groups

    @property
    def tokens(self) -> list[TokenGroup]:
        """The answers as token ids."""
        return self.sampled.tokens


def roll(
    generator: LocalGenerator,
    reference: Any,
    reward: Scorer,
    prompts: Sequence[Prompt],
    n: int,
    seed: int,
    source: str,
    token_budget: int,
) -> Rollout:
    """Sample `n` answers per prompt and score them under policy, reference and reward."""
    sampled = generator.draw(prompts, n, seed, source)
    temperature = generator.sampling.temperature
    policy = score_all(generator.model, sampled.tokens, token_budget, temperature=temperature, entropy=True)
    ref = score_all(reference, sampled.tokens, token_budget, temperature=temperature)
    assert policy.logp_NT is not None and ref.logp_NT is not None and policy.entropy_NT is not None
    importance_NT, figures = agreement(policy.logp_NT, policy.mask_NT, sampled)
    score_N, known_N = _scores(reward, sampled.groups, policy.logp_NT)
    return Rollout(
        sampled,
        policy.mask_NT & known_N[:, None],
        policy.logp_NT,
        ref.logp_NT,
        policy.entropy_NT,
        importance_NT,
        score_N,
        known_N,
        _stopped(sampled.groups, score_N),
        figures,
    )


def check_start(rollout: Rollout, dtype: torch.dtype) -> None:
    """Before the first update the policy is its reference (KL 0), and the sampler draws from it: said or refused."""
    gap = float((rollout.logp_NT - rollout.ref_logp_NT).masked_fill(~rollout.mask_NT, 0.0).abs().max())
    if not gap < START:
        raise TrainingError(
            f"before the first update policy and reference differ by {gap:.2g} nats on a token, so KL is not 0",
            fix="both must be the same weights, dtype and temperature, with dropout off",
        )
    largest = rollout.figures["sampling/sampling_logp_difference/max"]
    if not largest < START_SAMPLER and dtype in (torch.float32, torch.float64):
        raise TrainingError(
            f"before the first update sampler and trainer differ by up to {largest:.2g} nats on a token",
            fix="they read positions, padding or the temperature differently; report it",
        )
    log.print(f"  KL to the reference is 0; sampler and trainer agree within {largest:.1g} nats a token", style="dim")


def agreement(logp_NT: Tensor, mask_NT: Tensor, sampled: Sampled) -> tuple[Tensor, dict[str, float]]:
    """Importance weights trainer / sampler: 1 where they agree, truncated at 2 where they do not."""
    sampler_NT = torch.zeros_like(logp_NT)
    rows = [logps for group in sampled.logps for logps in group]
    for i, logps in enumerate(rows):
        sampler_NT[i, : len(logps)] = torch.tensor(logps, dtype=logp_NT.dtype)
    gap_NT = (logp_NT - sampler_NT).masked_fill(~mask_NT, 0.0)
    largest = float(gap_NT.abs().max())
    mean = float(gap_NT.abs().sum() / mask_NT.sum())
    if not mean < REFUSE:
        raise TrainingError(
            f"sampler and trainer give log-probs that differ by {mean:.2g} nats a token on average",
            fix="they are not the same model, dtype, attention or temperature; nothing can be learned from this",
        )
    equal = largest <= (AGREE_FLOAT64 if logp_NT.dtype is torch.float64 else AGREE)
    weight_NT = torch.ones_like(logp_NT) if equal else truncated_weight(logp_NT, sampler_NT, mask_NT)
    return weight_NT, {
        "sampling/sampling_logp_difference/mean": mean,
        "sampling/sampling_logp_difference/max": largest,
        "sampling/importance_sampling_ratio/mean": float(masked_mean(weight_NT, mask_NT)),
        "sampling/effective_sample_size": float(effective_sample_share(weight_NT, mask_NT)),
    }


def _scores(reward: Scorer, groups: Sequence[Group], like: Tensor) -> tuple[Tensor, Tensor]:
    """Raw scores and whether each is known."""
    flat = [value for row in reward.score(groups) for value in row]
    known_N = torch.tensor([value is not None for value in flat], device=like.device)
    if not bool(known_N.any()):
        raise RewardError("gave None for every answer of a batch, so nothing can be learned", where="reward")
    score_N = torch.tensor([0.0 if value is None else value for value in flat], device=like.device, dtype=like.dtype)
    return score_N, known_N


def _stopped(groups: Sequence[Group], like: Tensor) -> Tensor:
    return torch.tensor([a.finish == "stop" for g in groups for a in g.answers], device=like.device)
