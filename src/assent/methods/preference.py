"""The DPO family on groups: what each loss is told, what its rewards are, and what a batch of pairs shows.

A new member is a file in losses/, a name in `config.preferences.PreferenceLoss`, an entry in `FAMILY`, a test and a
section of docs/algorithms/dpo.md. K answers of a group, N of several groups, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from assent.config.preferences import PreferenceLoss
from assent.core.errors import DataError
from assent.data.collate import TokenGroup
from assent.engine import score_all
from assent.losses.cdpo import cdpo
from assent.losses.dpo import dpo
from assent.losses.hinge import hinge
from assent.losses.implicit_reward import implicit_reward
from assent.losses.ipo import ipo
from assent.losses.kto import kto, mismatched_kl
from assent.losses.robust import robust
from assent.losses.simpo import simpo
from assent.methods.pairs import PairTable, RankedItem, pair_table, won
from assent.ops.masked import masked_sum
from assent.train.method import Objective


class Member(NamedTuple):
    """A loss on (reward_w_P, reward_l_P, settings, KTO's baseline), and what its rewards are."""

    loss: Callable[[Tensor, Tensor, PreferenceLoss, float], Tensor]
    reference: bool = True
    """Rewards are gains on a reference; else the log-probs themselves."""
    averaged: bool = False
    """Rewards are means over an answer's tokens; else sums."""
    mismatched: bool = False
    """The loss wants to know how far the policy has moved on answers to other prompts."""


FAMILY: dict[str, Member] = {
    "dpo": Member(lambda w, l, s, _: dpo(w, l)),
    "cdpo": Member(lambda w, l, s, _: cdpo(w, l, s.label_smoothing)),
    "robust": Member(lambda w, l, s, _: robust(w, l, s.label_smoothing)),
    "ipo": Member(lambda w, l, s, _: ipo(w, l, s.beta), averaged=True),
    "hinge": Member(lambda w, l, s, _: hinge(w, l)),
    "simpo": Member(lambda w, l, s, _: simpo(w, l, s.gamma), reference=False, averaged=True),
    "kto": Member(lambda w, l, s, b: kto(w, l, b, s.desirable_weight, s.undesirable_weight), mismatched=True),
}


@dataclass(frozen=True)
class ReferredItem:
    """Ranked answers with the reference's log-prob of each, summed over its tokens, in nats."""

    ranked: RankedItem
    ref_logp_K: Tensor | None = None
    """None where the loss has no reference."""
    kl: float = 0.0
    """KTO's reference point, nats an answer: the same for all items of a batch, fixed before it is cut."""

    @property
    def group(self) -> TokenGroup:
        """The answers as token ids."""
        return self.ranked.group


def summed(model: Any, groups: Sequence[TokenGroup], token_budget: int, temperature: float = 1.0) -> list[Tensor]:
    """logp_K of each group: every answer's log-prob, summed over its tokens, in nats, without gradient."""
    if not groups:
        return []
    scores = score_all(model, groups, token_budget, temperature=temperature)
    assert scores.logp_NT is not None
    logp_N = masked_sum(scores.logp_NT, scores.mask_NT, dim=1)
    return list(torch.split(logp_N, [len(group.answers) for group in groups]))


def rewards(settings: PreferenceLoss, logp_N: Tensor, items: Sequence[ReferredItem]) -> Tensor:
    """Implicit reward [N] of every answer, from its summed log-prob."""
    member, ref_logp_N, length_N = FAMILY[settings.loss], None, None
    if member.reference:
        ref_logp_N = torch.cat([item.ref_logp_K for item in items if item.ref_logp_K is not None])
    if member.averaged:
        length_N = torch.tensor([len(a) for item in items for a in item.group.answers]).to(logp_N)
    return implicit_reward(logp_N, ref_logp_N, length_N, settings.beta)


def objective(settings: PreferenceLoss, logp_N: Tensor, items: Sequence[ReferredItem]) -> Objective:
    """Sum over pairs of weight x loss, a soft label being the mean of both outcomes; weight: judgments."""
    reward_N, pairs = rewards(settings, logp_N, items), pair_table([item.ranked for item in items], logp_N)
    reward_w_P, reward_l_P = reward_N[pairs.w_P], reward_N[pairs.l_P]
    loss, baseline = FAMILY[settings.loss].loss, settings.beta * items[0].kl
    loss_P = loss(reward_w_P, reward_l_P, settings, baseline)
    if pairs.soft is not None:
        loss_P = pairs.soft * loss_P + (1 - pairs.soft) * loss(reward_l_P, reward_w_P, settings, baseline)
    weight = sum(item.ranked.weight for item in items)
    metrics = _figures(reward_N.detach(), logp_N.detach(), pairs)
    if FAMILY[settings.loss].mismatched:
        metrics |= _kl_figure(items[0].kl, weight)
    return Objective((loss_P * pairs.weight_P).sum(), weight, metrics)


Sums = dict[str, tuple[Tensor | float, float]]
"""Figure -> (weighted sum over pairs, their weight)."""


def _figures(reward_N: Tensor, logp_N: Tensor, pairs: PairTable) -> Sums:
    """Under TRL's names. A tie has no better answer, so it does not count in the accuracy."""
    w_P, l_P, decided_P = pairs.w_P, pairs.l_P, pairs.decided
    weight = float(pairs.weight_P.sum())

    def total(x_P: Tensor) -> Tensor:
        return (x_P * pairs.weight_P).sum()

    lead_P = reward_N[w_P] - reward_N[l_P]
    return {
        "rewards/chosen": (total(reward_N[w_P]), weight),
        "rewards/rejected": (total(reward_N[l_P]), weight),
        "rewards/accuracies": ((won(lead_P) * decided_P).sum(), float(decided_P.sum())),
        "rewards/margins": (total(lead_P), weight),
        "logps/chosen": (total(logp_N[w_P]), weight),
        "logps/rejected": (total(logp_N[l_P]), weight),
    }


def _kl_figure(kl: float, weight: float) -> Sums:
    return {"kl": (kl * weight, weight)}


def mean_of_pairs(x_N: Tensor, items: Sequence[ReferredItem]) -> dict[str, float]:
    """Weighted mean over pairs of a number an answer has: of the better answers, and of the others."""
    pairs = pair_table([item.ranked for item in items], x_N)
    weight_P = pairs.weight_P / pairs.weight_P.sum()
    return {
        name: float((x_N[of_P] * weight_P).sum()) for name, of_P in (("chosen", pairs.w_P), ("rejected", pairs.l_P))
    }


# KTO's reference point


def mismatched(groups: Sequence[TokenGroup]) -> dict[int, TokenGroup]:
    """By index: a group's prompt with the answers of the next group that has another prompt.

    Only where such a row is no longer than the longest of `groups`, so that it fits where they do. Raises DataError
    where there is no such row at all.
    """
    longest = max(len(g.prompt_ids) + max(map(len, g.answers)) for g in groups)
    found = {}
    for i, group in enumerate(groups):
        room = longest - len(group.prompt_ids)
        others = (groups[(i + k) % len(groups)] for k in range(1, len(groups)))
        fitting = (o for o in others if o.prompt_ids != group.prompt_ids and max(map(len, o.answers)) <= room)
        if other := next(fitting, None):
            name = f"{group.group_id} with answers of {other.group_id}"
            found[i] = TokenGroup(name, group.prompt_ids, other.answers, other.answer_ids)
    if not found:
        raise DataError(
            "this loss compares prompts with the answers to other prompts, and there is only one prompt",
            where="loss: kto",
            fix="more prompts, or another loss",
        )
    return found


def moved(
    policy: Any,
    strangers: Sequence[TokenGroup],
    ref_logps: Sequence[Tensor],
    token_budget: int,
    temperature: float = 1.0,
) -> float:
    """KTO's reference point from mismatched groups and the reference's log-probs of their answers."""
    if not strangers:
        return 0.0
    return mismatched_kl(torch.cat(summed(policy, strangers, token_budget, temperature)), torch.cat(list(ref_logps)))
