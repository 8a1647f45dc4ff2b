"""Experience: from scores to what each update knows about each sampled token, cut into minibatches.

N answers of a rollout, K answers of one group, T answer positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assent.advantages.normalise import RewardNormaliser, clip_rewards
from assent.config.steps import PpoConfig
from assent.core.errors import TrainingError
from assent.data.collate import TokenGroup
from assent.methods.rollout import Rollout
from assent.ops.reduce import denominator
from assent.train.method import Batch


@dataclass(frozen=True)
class Experience:
    """One group with its table of [K, T] tensors."""

    group: TokenGroup
    table: dict[str, Tensor]
    policy_denominator: float = 1.0
    """Denominator of the policy loss over the whole minibatch (the batch's weight)."""
    token_denominator: float = 1.0
    """Tokens in the whole minibatch."""


def shaped_scores(rollout: Rollout, config: PpoConfig, normaliser: RewardNormaliser) -> Tensor:
    """Scores [N], scaled, clipped, and less for answers that never stop: all before the KL term."""
    score_N = rollout.score_N
    if config.reward_scale == "running":
        normaliser.update(score_N[rollout.known_N])
        score_N = normaliser.apply(score_N)
    if config.reward_clip:
        score_N = clip_rewards(score_N, config.reward_clip)
    return score_N - config.no_eos_penalty * (~rollout.stopped_N).to(score_N.dtype)


def split(groups: Sequence[TokenGroup], tables: dict[str, Tensor]) -> list[Experience]:
    """Tables of [N, T] tensors, cut into one table a group."""
    experiences, row = [], 0
    for group in groups:
        rows, width = slice(row, row + len(group.answers)), max(len(a) for a in group.answers)
        experiences.append(Experience(group, {k: t[rows, :width] for k, t in tables.items()}))
        row += len(group.answers)
    return experiences


def minibatch(items: Sequence[Experience], config: PpoConfig, learns: frozenset[str] | None) -> Batch | None:
    """A minibatch with its denominators, fixed before it is cut; None where no token counts."""
    weight = sum(weight_of(item.table["mask"], config) for item in items)
    tokens = sum(float(item.table["mask"].sum()) for item in items)
    if not tokens:
        return None
    return Batch([Experience(i.group, i.table, weight, tokens) for i in items], weight, learns)


def weight_of(mask_NT: Tensor, config: PpoConfig) -> float:
    """What these answers add to the denominator of the policy loss."""
    length = config.sampling.max_tokens if config.aggregation == "constant" else None
    return float(denominator(mask_NT, config.aggregation, length))


def stack(tables: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tables of [K, T] tensors of several groups as one table of [N, T], padded with zeros."""
    width = max(table["mask"].shape[1] for table in tables)
    return {
        name: torch.cat([nn.functional.pad(table[name], (0, width - table[name].shape[1])) for table in tables])
        for name in tables[0]
    }


def check_first(result: dict[str, float]) -> None:
    """Before the first update the new policy is the old one: ratio 1, KL 0, nothing clipped."""
    if (
        abs(result["val/ratio"] - 1) > 1e-4
        or abs(result["policy/approxkl_avg"]) > 1e-6
        or result["policy/clipfrac_avg"] > 0
    ):
        raise TrainingError(
            f"before the first update the ratio is {result['val/ratio']:.6f} and KL(old, new) "
            f"{result['policy/approxkl_avg']:.2g}, not 1 and 0",
            fix="two passes of one model disagree: dropout, dtype or padding; report it",
        )
