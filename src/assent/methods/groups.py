"""What methods share that compare an answer with its siblings, without a value model: grpo and rloo.

G groups of K answers each, N = G x K answers, T answer positions. The formulas: advantages/group.py,
losses/ppo.py. What we do and what we left out: docs/algorithms/grpo.md, docs/algorithms/rloo.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor

from assent.advantages.group import SAME
from assent.advantages.kl_penalty import answer_rewards
from assent.config.online import GrpoConfig, RlooConfig
from assent.core.console import log
from assent.core.errors import TrainingError
from assent.core.records import Prompt
from assent.engine import score
from assent.engine.generate import LocalGenerator
from assent.losses.ppo import policy_loss
from assent.methods.experience import (
    Experience,
    GroupScores,
    group_scores,
    replaced,
    split,
    stack,
    too_long,
    weight_of,
)
from assent.methods.figures import group_figures, reward_figures, update_figures
from assent.methods.online import Online
from assent.methods.rollout import Rollout
from assent.ops.masked import masked_mean
from assent.ops.reduce import weighted_sum, weights
from assent.rewards.total import TotalReward
from assent.train.method import Objective

C = TypeVar("C", bound=GrpoConfig | RlooConfig)


class Groups(Online[C]):
    """The wiring. An iteration: sample, score, compare (`credit`), then clipped updates, with `leash` in the loss.

    `reference` is the frozen starting policy, None where no KL is charged.
    """

    def __init__(
        self,
        generator: LocalGenerator,
        reference: Any | None,
        reward: TotalReward,
        prompts: Sequence[Prompt],
        config: C,
        seed: int,
    ) -> None:
        if config.kl.coef and reference is None:
            raise TrainingError("a KL term needs a reference", where="kl.coef", fix="give one, or set it to 0")
        super().__init__(generator, reference, reward, prompts, config, seed)
        self.further = 0
        self._warned = False

    @property
    @abstractmethod
    def charge(self) -> float:
        """The part of `kl_coef` that is taken from an answer's score."""

    @abstractmethod
    def credit(self, score_GK: Tensor, counts_GK: Tensor) -> Tensor:
        """Advantage of each answer; 0 where it does not count."""

    def leash(self, logp_NT: Tensor, ref_logp_NT: Tensor | None, mask_NT: Tensor) -> Tensor | float:
        """KL term of the loss, per token."""
        return 0.0

    def experiences(self, rollout: Rollout, step: int) -> list[Experience]:
        """Note the figures; ask further prompts where groups say nothing; compare each answer with its siblings."""
        scores = group_scores(rollout, self.config)
        self.note(rollout, self._measure(rollout, scores))
        self._say_if_flat(rollout, scores, step)
        if self.config.resample:
            rollout = self._resampled(rollout, scores.flat_G, step)
            scores = group_scores(rollout, self.config)
        compared_GK = self._charged(rollout, scores).view_as(scores.score_GK)
        advantage_GK = self.credit(compared_GK, scores.counts_GK)
        tables = {
            "mask": rollout.mask_NT & scores.counts_GK.view(-1, 1),
            "old_logp": rollout.logp_NT,
            "advantage": advantage_GK.view(-1, 1).expand_as(rollout.logp_NT),
            "importance": rollout.importance_NT,
        }
        if rollout.ref_logp_NT is not None:
            tables["ref_logp"] = rollout.ref_logp_NT
        return split(rollout.tokens, tables)

    def _resampled(self, rollout: Rollout, flat_G: Tensor, step: int) -> Rollout:
        """Groups of further prompts in place of flat ones, `resample` times at most.

        Further prompts are the next ones of the endless sequence of passes, and those of the next iteration come after
        them. How many they were so far is state: a replay asks the same again.
        """
        following, asked = (step + 1) * self.config.prompts, 0
        for turn in range(1, self.config.resample + 1):
            places = flat_G.nonzero().flatten().tolist()
            if not places:
                break
            more = self.ask(self.window(following + asked, len(places)), step, turn)
            asked += len(places)
            rollout = replaced(rollout, places, more)
            flat_G = group_scores(rollout, self.config).flat_G
        self.further += asked
        self.episodes += asked * self.config.answers
        self._figures |= {
            "episode": float(self.episodes),
            "resample/prompts": float(asked),
            "resample/frac_reward_zero_std": float(flat_G.float().mean()),
        }
        return rollout

    def window(self, first: int, size: int) -> list[Prompt]:
        """As everywhere, after the prompts that were asked in place of others so far."""
        return super().window(first + self.further, size)

    def _charged(self, rollout: Rollout, scores: GroupScores) -> Tensor:
        """Scores [N] less the KL that is taken from them."""
        score_N = scores.score_GK.flatten()
        if not self.charge:
            return score_N
        assert rollout.ref_logp_NT is not None
        return answer_rewards(score_N, rollout.logp_NT, rollout.ref_logp_NT, rollout.mask_NT, self.charge)

    def weight(self, experience: Experience) -> float:
        """Its share of the aggregation's denominator."""
        return weight_of(experience.table["mask"], self.config)

    def loss(self, items: Sequence[Experience]) -> Objective:
        """Clipped policy loss, and KL in the loss where asked."""
        config = self.config
        t = stack([item.table for item in items])
        mask_NT = t["mask"]
        new = score(self.policy, [item.group for item in items], temperature=config.sampling.temperature)
        assert new.logp_NT is not None
        bounds = (config.clip_low, config.clip_high, None)
        clipped = policy_loss(new.logp_NT, t["old_logp"], t["advantage"], mask_NT, *bounds, t["importance"])
        loss_NT = clipped.loss_NT + self.leash(new.logp_NT, t.get("ref_logp"), mask_NT)
        total = weighted_sum(loss_NT, weights(mask_NT, config.aggregation, loss_NT.dtype))
        metrics = update_figures(clipped, new.logp_NT, t["old_logp"], mask_NT)
        return Objective(total, weight_of(mask_NT, config), metrics)

    def state(self) -> dict[str, Any]:
        """Beside the episodes: further prompts asked so far, and whether it was said that nothing can be learned."""
        return super().state() | {"further": self.further, "warned": self._warned}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        self.further, self._warned = state["further"], state["warned"]

    def _measure(self, rollout: Rollout, scores: GroupScores) -> dict[str, float]:
        """Figures of the comparison, of all answers just drawn."""
        figures = group_figures(scores.score_GK, scores.counts_GK, scores.flat_G)
        if self.charge:
            kept_N = self._charged(rollout, scores).masked_fill(~rollout.known_N, 0.0)
            figures |= reward_figures(rollout, kept_N, self.charge)
        if self.config.overlong is not None:
            figures["overlong/penalty"] = float(masked_mean(too_long(rollout, self.config), rollout.known_N))
        return figures

    def _say_if_flat(self, rollout: Rollout, scores: GroupScores, step: int) -> None:
        """Say once that nothing can be learned from an iteration's scores, and from a constant reward in any case."""
        known_N = rollout.score_N[rollout.known_N]
        constant = step == 0 and len(known_N) > 1 and float(known_N.max() - known_N.min()) <= SAME
        if self._warned or not (constant or bool(scores.flat_G.all())):
            return
        self._warned = True
        if constant:
            why = f"the reward gives every answer the same score, {float(known_N[0]):.4g}; look at the reward"
        elif not bool(scores.counts_GK.any()):
            why = "no answer stops by itself, and `truncated: mask` leaves none; raise sampling.max_tokens"
        else:
            why = "the answers to each prompt all score alike; more `answers`, or prompts that are less easy or hard"
        log.print(
            f"  iteration {step}: nothing can be learned from the scores: {why} (counted in frac_reward_zero_std)",
            style="yellow",
            markup=False,
        )
