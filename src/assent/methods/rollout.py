"""From prompts to experience: sample, score, and check that sampler and trainer agree.

G groups of K answers; N = all answers; T answer positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assent.core.console import log
from assent.core.errors import RewardError, TrainingError
from assent.core.protocols import Scorer
from assent.core.records import Group, Prompt
from assent.data.collate import TokenGroup
from assent.engine import room, score_all
from assent.engine.generate import LocalGenerator, Sampled
from assent.engine.precision import WIDE
from assent.ops.importance import effective_sample_share, truncated_weight
from assent.ops.masked import masked_mean

AGREE, AGREE_FLOAT64 = 1e-4, 1e-9
"""Largest log-prob difference between cached stepping and a full pass that counts as rounding."""
SPOT = 16
"""One group in so many is scored again to check that sampler and trainer agree."""
LARGEST = "sampling/sampling_logp_difference/max"
REFUSE = 0.1
"""Mean difference, in nats a token, beyond which sampler and trainer are different models; two kernels in
bf16 stay an order of magnitude below it, a temperature that one of them forgot does not."""
START = 1e-4
"""Largest difference, in nats on any token, between the policy before its first update and the reference."""
START_SAMPLER, START_SAMPLER_HALF = 1e-2, 0.5
"""The same between sampler and trainer: a hundred times their rounding in fp32. In bf16 autocast the largest gap
seen on a token was 0.1 nats on models of 16 dimensions (five families, weights drawn wide) and 0.007 to 0.2 on a
Llama of 288, growing with the width of its weights; the mean was below 0.05 and the gap to the reference 0."""


@dataclass
class Rollout:
    """One batch of sampled answers with everything a method needs before credit is spread."""

    sampled: Sampled
    mask_NT: Tensor
    """Real answer tokens, EOS included; answers without a score are masked out whole."""
    logp_NT: Tensor
    ref_logp_NT: Tensor | None
    """None where no reference is kept."""
    value_NT: Tensor | None
    """Of a value head on the policy's own trunk; None without one."""
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
    reference: Any | None,
    reward: Scorer,
    prompts: Sequence[Prompt],
    n: int,
    seed: int,
    source: str,
    token_budget: int,
    value_head: nn.Linear | None = None,
    whole: bool = False,
    scoreless: bool = False,
) -> Rollout:
    """Sample `n` answers per prompt and score them under policy, reference (where there is one) and reward.

    The policy's log-probs are the sampler's own wherever a spot check finds the trainer's equal to them; `whole`
    (before the first update) scores every answer again. `scoreless`: it is no error if the reward knows no answer.
    """
    with room.during(f"sampling {n * len(prompts):,} answers"):
        sampled = generator.draw(prompts, n, seed, source)
    temperature, model, tokens = generator.sampling.temperature, generator.model, sampled.tokens
    with room.during(f"scoring {n * len(prompts):,} answers"):
        logp_NT, mask_NT, importance_NT, figures = _policy(model, sampled, temperature, token_budget, whole)
        value_NT = None
        if value_head is not None:
            value_NT = score_all(model, tokens, token_budget, logp=False, value_head=value_head).value_NT
        ref_logp_NT = None
        if reference is not None:
            ref_logp_NT = score_all(reference, tokens, token_budget, temperature=temperature).logp_NT
    score_N, known_N = _scores(reward, sampled.groups, logp_NT)
    if not scoreless and not bool(known_N.any()):
        fix = "look at the answers (`assent sample`) and at what the reward can score"
        raise RewardError("gave None for every answer, so nothing can be learned", where="reward", fix=fix)
    known_NT, stopped_N = mask_NT & known_N[:, None], _stopped(sampled.groups, score_N)
    passes = (logp_NT, ref_logp_NT, value_NT, importance_NT)
    return Rollout(sampled, known_NT, *passes, score_N, known_N, stopped_N, figures)


def _policy(
    model: Any, sampled: Sampled, temperature: float, token_budget: int, whole: bool
) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
    """Old log-probs [N, T] with their mask, importance weights and figures.

    A spot check scores the first 1/SPOT of the groups again. Where it finds only rounding, the sampler's log-probs
    stand for all: they are those of the policy that really drew the answers. Else the trainer's replace them, with
    importance weights between the two. In half precision two passes differ by more than rounding: always the latter.
    """
    first = sampled if whole else sampled.first(math.ceil(len(sampled.tokens) / SPOT))
    while True:
        spot = score_all(model, first.tokens, token_budget, temperature=temperature)
        assert spot.logp_NT is not None
        logp_NT, mask_NT = spot.logp_NT, spot.mask_NT
        importance_NT, figures = agreement(logp_NT, mask_NT, first)
        if len(first.tokens) == len(sampled.tokens):
            return logp_NT, mask_NT, importance_NT, figures
        if figures[LARGEST] <= rounding(logp_NT.dtype):
            logp_NT, mask_NT = drawn(sampled, logp_NT)
            return logp_NT, mask_NT, torch.ones_like(logp_NT), figures
        first = sampled


def check_start(rollout: Rollout, dtype: torch.dtype) -> None:
    """Before the first update the policy is its reference (KL 0), and the sampler draws from it: said or refused.

    `dtype` is the one products are computed in (`engine.precision.compute_dtype`).
    """
    if rollout.ref_logp_NT is not None:
        gap = float((rollout.logp_NT - rollout.ref_logp_NT).masked_fill(~rollout.mask_NT, 0.0).abs().max())
        if not gap < START:
            raise TrainingError(
                f"before the first update policy and reference differ by {gap:.2g} nats on a token, so KL is not 0",
                fix="both must be the same weights, dtype and temperature, with dropout off",
            )
    largest = rollout.figures[LARGEST]
    if not largest < (START_SAMPLER if dtype in WIDE else START_SAMPLER_HALF):
        raise TrainingError(
            f"before the first update sampler and trainer differ by up to {largest:.2g} nats on a token",
            fix="they read positions, padding or the temperature differently; report it",
        )
    start = "KL to the reference is 0; " if rollout.ref_logp_NT is not None else ""
    log.print(f"  {start}sampler and trainer agree within {largest:.1g} nats a token", style="dim")


def agreement(logp_NT: Tensor, mask_NT: Tensor, sampled: Sampled) -> tuple[Tensor, dict[str, float]]:
    """Importance weights trainer / sampler: 1 where they agree, truncated at 2 where they do not."""
    sampler_NT, _ = drawn(sampled, logp_NT)
    gap_NT = (logp_NT - sampler_NT).masked_fill(~mask_NT, 0.0)
    largest = float(gap_NT.abs().max())
    mean = float(gap_NT.abs().sum() / mask_NT.sum())
    if not mean < REFUSE:
        raise TrainingError(
            f"sampler and trainer give log-probs that differ by {mean:.2g} nats a token on average",
            fix="they are not the same model, dtype, attention or temperature; nothing can be learned from this",
        )
    equal = largest <= rounding(logp_NT.dtype)
    weight_NT = torch.ones_like(logp_NT) if equal else truncated_weight(logp_NT, sampler_NT, mask_NT)
    return weight_NT, {
        "sampling/sampling_logp_difference/mean": mean,
        "sampling/sampling_logp_difference/max": largest,
        "sampling/importance_sampling_ratio/mean": float(masked_mean(weight_NT, mask_NT)),
        "sampling/effective_sample_size": float(effective_sample_share(weight_NT, mask_NT)),
    }


def rounding(dtype: torch.dtype) -> float:
    """Largest log-prob difference that counts as rounding."""
    return AGREE_FLOAT64 if dtype is torch.float64 else AGREE


def drawn(sampled: Sampled, like: Tensor) -> tuple[Tensor, Tensor]:
    """The sampler's log-probs [N, T] and their mask, on the device and in the dtype of `like`."""
    rows = [torch.tensor(logps, dtype=like.dtype) for group in sampled.logps for logps in group]
    length_N = torch.tensor([len(row) for row in rows], device=like.device)
    logp_NT = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(like.device)
    return logp_NT, torch.arange(logp_NT.shape[1], device=like.device) < length_N[:, None]


def _scores(reward: Scorer, groups: Sequence[Group], like: Tensor) -> tuple[Tensor, Tensor]:
    """Raw scores and whether each is known."""
    flat = [value for row in reward.score(groups) for value in row]
    known_N = torch.tensor([value is not None for value in flat], device=like.device)
    score_N = torch.tensor([0.0 if value is None else value for value in flat], device=like.device, dtype=like.dtype)
    return score_N, known_N


def _stopped(groups: Sequence[Group], like: Tensor) -> Tensor:
    return torch.tensor([a.finish == "stop" for g in groups for a in g.answers], device=like.device)
