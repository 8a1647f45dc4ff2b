"""Experience: from scores to what each update knows about each sampled token, cut into minibatches.

N answers of a rollout, G groups of K answers each, T answer positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from assent.advantages.group import flat_groups
from assent.advantages.normalise import RewardNormaliser, clip_rewards
from assent.advantages.overlong import overlong_penalty
from assent.config.online import GroupConfig, OnlineConfig, PolicyGradientConfig, PpoConfig
from assent.core.errors import TrainingError
from assent.core.seeds import order
from assent.data.collate import TokenGroup
from assent.engine.generate import Sampled
from assent.engine.precision import WIDE
from assent.methods.rollout import Rollout
from assent.ops.reduce import denominator
from assent.train.method import Batch

FIRST, FIRST_HALF = (1e-4, 1e-6, 0.0), (1e-2, 1e-3, 1e-2)
"""Distance of the mean ratio from 1, KL(old, new) in nats a token and share of clipped tokens that are rounding.
Two passes in bf16 autocast that were cut differently had at most 6e-4, 2e-5 and 0 (the models of
`rollout.START_SAMPLER`); a temperature of 0.6 that one of them forgot has a KL of a tenth of a nat and more."""


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
    return charge_endless(score_N, rollout, config.no_eos_penalty)


def charge_endless(score_N: Tensor, rollout: Rollout, penalty: float) -> Tensor:
    """Scores [N], less `penalty` for answers that never stop."""
    return score_N - penalty * (~rollout.stopped_N).to(score_N.dtype)


class GroupScores(NamedTuple):
    """Scores [G, K] as they are compared, KL aside; which answers count; and which groups say nothing [G]."""

    score_GK: Tensor
    counts_GK: Tensor
    flat_G: Tensor


def group_scores(rollout: Rollout, config: GroupConfig) -> GroupScores:
    """Scores less for answers that are too long or never stop, or without those that never stop."""
    score_N, counts_N = rollout.score_N, rollout.known_N
    if config.truncated == "mask":
        counts_N = counts_N & rollout.stopped_N
    else:
        score_N = charge_endless(score_N, rollout, config.no_eos_penalty)
    if config.overlong is not None:
        score_N = score_N - too_long(rollout, config)
    score_GK, counts_GK = score_N.view(len(rollout.groups), -1), counts_N.view(len(rollout.groups), -1)
    return GroupScores(score_GK, counts_GK, flat_groups(score_GK, counts_GK))


def too_long(rollout: Rollout, config: GroupConfig) -> Tensor:
    """What the scores [N] lose for length."""
    if config.overlong is None:
        return torch.zeros_like(rollout.score_N)
    return overlong_penalty(rollout.mask_NT.sum(1), config.sampling.max_tokens, config.overlong)


def replaced(rollout: Rollout, places: Sequence[int], more: Rollout) -> Rollout:
    """A rollout with groups of `more` in place of those at `places`; its figures stay those of what was drawn first."""
    taken, k = dict(zip(places, range(len(places)), strict=True)), len(rollout.groups[0].answers)
    rows = [place * k + i for place in places for i in range(k)]
    changes: dict[str, object] = {}
    for name in (field.name for field in fields(rollout)):
        old, new = getattr(rollout, name), getattr(more, name)
        if isinstance(old, Tensor):
            width = max(old.shape[1], new.shape[1]) if old.dim() == 2 else 0
            table = _widened(old, width).clone()
            table[rows] = _widened(new, width)
            changes[name] = table

    def put(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
        return [new[taken[i]] if i in taken else own for i, own in enumerate(old)]

    sampled = Sampled(*(put(old, new) for old, new in zip(rollout.sampled, more.sampled, strict=True)))
    return replace(rollout, sampled=sampled, **changes)  # type: ignore[arg-type]


def _widened(table: Tensor, width: int) -> Tensor:
    """[N, T] padded with zeros on the right up to `width`; [N] as it is."""
    return nn.functional.pad(table, (0, width - table.shape[1])) if table.dim() == 2 else table


def split(groups: Sequence[TokenGroup], tables: dict[str, Tensor]) -> list[Experience]:
    """Tables of [N, T] tensors, cut into one table a group."""
    experiences, row = [], 0
    for group in groups:
        rows, width = slice(row, row + len(group.answers)), max(len(a) for a in group.answers)
        experiences.append(Experience(group, {k: t[rows, :width] for k, t in tables.items()}))
        row += len(group.answers)
    return experiences


def updates(
    experiences: Sequence[Experience],
    config: OnlineConfig,
    weigh: Callable[[Experience], float],
    seed: int,
    step: int,
    dtype: torch.dtype,
    learns: frozenset[str] | None = None,
    early_stop_kl: float | None = None,
    check: bool = True,
) -> Iterator[Batch]:
    """Epochs of minibatches, shuffled by f(seed, step, epoch); ended early when the policy moved far.

    `weigh` says what an experience adds to the denominator of the loss. The first update of a run must find the new
    policy equal to the old one, or training stops; equal is up to the rounding of `dtype`, in which the policy's
    products are computed. Without `check` the method sees to that itself.
    """
    unchecked = check and step == 0
    for epoch in range(config.epochs):
        shuffled = [experiences[i] for i in order(len(experiences), seed, step, epoch)]
        for first in range(config.minibatches):
            batch = minibatch(shuffled[first :: config.minibatches], weigh, learns)
            if batch is None:
                continue
            yield batch
            if unchecked:
                check_first(batch.result, dtype)
                unchecked = False
            if early_stop_kl and batch.result["policy/approxkl_avg"] > early_stop_kl:
                return


def minibatch(
    items: Sequence[Experience], weigh: Callable[[Experience], float], learns: frozenset[str] | None
) -> Batch | None:
    """A minibatch with its denominators, fixed before it is cut; None where no token counts."""
    weight = sum(weigh(item) for item in items)
    tokens = sum(float(item.table["mask"].sum()) for item in items)
    if not tokens or not weight:
        return None
    return Batch([replace(i, policy_denominator=weight, token_denominator=tokens) for i in items], weight, learns)


def weight_of(mask_NT: Tensor, config: PolicyGradientConfig) -> float:
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


def check_first(result: dict[str, float], dtype: torch.dtype) -> None:
    """Before the first update the new policy is the old one: ratio 1, KL 0, nothing clipped."""
    ratio, kl, clipped = FIRST if dtype in WIDE else FIRST_HALF
    if (
        abs(result["val/ratio"] - 1) > ratio
        or abs(result["policy/approxkl_avg"]) > kl
        or result["policy/clipfrac_avg"] > clipped
    ):
        raise TrainingError(
            f"before the first update the ratio is {result['val/ratio']:.6f} and KL(old, new) "
            f"{result['policy/approxkl_avg']:.2g}, not 1 and 0",
            fix="two passes of one model disagree: dropout, dtype or padding; report it",
        )
