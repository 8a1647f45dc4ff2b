"""Online DPO (Guo et al. 2024, arXiv 2402.04792): DPO on answers that the policy has just written.

An iteration: sample several answers to each prompt; score them; of two answers the one that scores higher is the
preferred one; then updates with a loss of the DPO family. The losses: losses/dpo.py and its siblings. What we do and
what we left out: docs/algorithms/online_dpo.md. K answers of a group, N of all groups, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assent.config.online import OnlineDpoConfig
from assent.core.console import log
from assent.core.errors import TrainingError
from assent.core.records import Prompt
from assent.engine import score
from assent.engine.generate import LocalGenerator
from assent.engine.precision import WIDE
from assent.methods.experience import FIRST, FIRST_HALF, Experience, charge_endless, split, updates
from assent.methods.online import Online
from assent.methods.pairs import RankedItem, pairs_by_score, used
from assent.methods.preference import FAMILY, ReferredItem, mean_of_pairs, mismatched, moved, objective, rewards, summed
from assent.methods.rollout import Rollout
from assent.ops.masked import masked_sum
from assent.rewards.total import TotalReward
from assent.train.method import Batch, Objective

NO_PAIR = "no group has two answers that score differently, so the iteration teaches nothing"


@dataclass(frozen=True, kw_only=True)
class PairExperience(Experience):
    """A group with the pairs that its scores make; answers that stand in none are left out."""

    item: ReferredItem
    old_logp_K: Tensor
    """Of each answer, summed over its tokens, under the policy that drew it."""


class OnlineDpo(Online[OnlineDpoConfig]):
    """The wiring. `reference` is the frozen starting policy, None where the loss has none."""

    def __init__(
        self,
        generator: LocalGenerator,
        reference: Any | None,
        reward: TotalReward,
        prompts: Sequence[Prompt],
        config: OnlineDpoConfig,
        seed: int,
    ) -> None:
        if FAMILY[config.loss].reference and reference is None:
            raise TrainingError(f"`loss: {config.loss}` needs a reference", where="loss", fix="give one, or take simpo")
        super().__init__(generator, reference, reward, prompts, config, seed)
        self._warned = False

    def experiences(self, rollout: Rollout, step: int) -> list[Experience]:
        """The groups that make a pair, with the log-probs of their answers under reference and old policy."""
        score_N = charge_endless(rollout.score_N, rollout, self.config.no_eos_penalty)
        scores = [s if known else None for s, known in zip(score_N.tolist(), rollout.known_N.tolist(), strict=True)]
        tables = {"mask": rollout.mask_NT, "old_logp": rollout.logp_NT}
        if rollout.ref_logp_NT is not None:
            tables["ref_logp"] = rollout.ref_logp_NT
        kl, found, leads, first = self._moved(rollout), list[Experience](), list[float](), 0
        for one in split(rollout.tokens, tables):
            own, first = scores[first : first + len(one.group.answers)], first + len(one.group.answers)
            if pairs := pairs_by_score(own, one.group.answers, self.config.pairs, self.config.soft):
                found.append(_experience(one, RankedItem(one.group, pairs), kl))
                leads.append(sum(p.weight * ((own[p.better] or 0.0) - (own[p.worse] or 0.0)) for p in pairs))
        self.note(rollout, _figures(leads, len(rollout.groups)))
        if not found and not self._warned:
            self._warned = True
            log.print(f"  step {step}: {NO_PAIR}", style="yellow")
        return found

    def _moved(self, rollout: Rollout) -> float:
        """KTO's reference point, from the iteration's prompts with each other's answers."""
        if not FAMILY[self.config.loss].mismatched:
            return 0.0
        strangers = list(mismatched(rollout.tokens).values())
        how = (self.config.limits.token_budget, self.config.sampling.temperature)
        return moved(self.policy, strangers, summed(self.reference, strangers, *how), *how)

    def weight(self, experience: Experience) -> float:
        """All pairs of a group share the weight 1."""
        assert isinstance(experience, PairExperience)
        return experience.item.ranked.weight

    def updates(self, experiences: Sequence[Experience], step: int, dtype: torch.dtype) -> Iterator[Batch]:
        """The iteration's epochs; the run's first update must find the policy that drew the answers."""
        unchecked = step == 0
        for batch in updates(experiences, self.config, self.weight, self.seed, step, dtype, check=False):
            yield batch
            if unchecked:
                self._check_first(batch, dtype)
                unchecked = False

    def loss(self, items: Sequence[PairExperience]) -> Objective:
        """Sum over pairs of weight x loss; weight: prompts."""
        new = score(self.policy, [item.group for item in items], temperature=self.config.sampling.temperature)
        assert new.logp_NT is not None
        logp_N = masked_sum(new.logp_NT, new.mask_NT, dim=1)
        return objective(self.config, logp_N, [item.item for item in items])

    def _check_first(self, batch: Batch, dtype: torch.dtype) -> None:
        """Implicit rewards must be those of the policy that drew the answers: 0, as it is its own reference."""
        drawn = [item for item in batch.items if isinstance(item, PairExperience)]
        items = [one.item for one in drawn]
        expected = mean_of_pairs(rewards(self.config, torch.cat([one.old_logp_K for one in drawn]), items), items)
        longest = 1 if FAMILY[self.config.loss].averaged else max(len(a) for one in drawn for a in one.group.answers)
        bound = self.config.beta * longest * (FIRST if dtype in WIDE else FIRST_HALF)[0]
        found = {name: batch.result[f"rewards/{name}"] for name in expected}
        if any(abs(found[name] - expected[name]) > bound for name in expected):
            raise TrainingError(
                f"before the first update the implicit rewards are {found['chosen']:.4g} and {found['rejected']:.4g}, "
                f"not {expected['chosen']:.4g} and {expected['rejected']:.4g}",
                fix="two passes of one model disagree: dropout, dtype or padding; report it",
            )


def _experience(one: Experience, ranked: RankedItem, kl: float) -> PairExperience:
    """Log-probs summed over tokens, of the answers that stand in a pair."""
    kept = sorted({i for pair in ranked.pairs for i in (pair.better, pair.worse)})
    mask_KT = one.table["mask"][kept]
    sums = {name: masked_sum(table[kept], mask_KT, dim=1) for name, table in one.table.items() if name != "mask"}
    item = ReferredItem(used(ranked), sums.get("ref_logp"), kl)
    return PairExperience(item.group, {"mask": mask_KT}, item=item, old_logp_K=sums["old_logp"])


def _figures(leads: Sequence[float], groups: int) -> dict[str, float]:
    """What the pairs are made of."""
    figures = {"frac_reward_zero_std": 1 - len(leads) / groups}
    if leads:
        figures["objective/scores_margin"] = sum(leads) / len(leads)
    return figures
