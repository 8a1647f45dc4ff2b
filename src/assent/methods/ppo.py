"""Proximal policy optimisation (Schulman et al. 2017) as RLHF uses it (Ziegler et al. 2019, N+ 2024).

An iteration: sample answers; score them; charge KL to the reference; spread credit with GAE; then a few
passes of clipped updates for the policy and the value model. The three formulas a reader looks for:
losses/ppo.py (the clipped loss), advantages/gae.py (GAE), advantages/kl_penalty.py (the KL term).
Numbered details and what we left out: docs/algorithms/ppo.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from assent.advantages.gae import gae
from assent.advantages.kl_penalty import AdaptiveKL, FixedKL, token_rewards
from assent.advantages.normalise import RewardNormaliser
from assent.config.steps import PpoConfig
from assent.core.records import Prompt
from assent.engine import score, score_all
from assent.engine.generate import LocalGenerator
from assent.losses.ppo import policy_loss
from assent.losses.value import value_loss
from assent.methods.experience import (
    Experience,
    shaped_scores,
    split,
    stack,
    updates,
    weight_of,
)
from assent.methods.figures import critic_figures, reward_figures, update_figures, value_figures
from assent.methods.online import Online
from assent.methods.rollout import Rollout
from assent.models.heads import value_head
from assent.ops import kl as kls
from assent.ops.masked import whiten
from assent.ops.reduce import weighted_sum, weights
from assent.rewards.total import TotalReward
from assent.train.method import Batch, Objective


class Ppo(Online[PpoConfig]):
    """The wiring. `reference` is the frozen starting policy; `critic` a value model, None: shared trunk."""

    def __init__(
        self,
        generator: LocalGenerator,
        reference: Any,
        reward: TotalReward,
        critic: Any | None,
        prompts: Sequence[Prompt],
        config: PpoConfig,
        seed: int,
    ) -> None:
        super().__init__(generator, reference, reward, prompts, config, seed)
        self.critic = critic
        self.value_head = value_head(self.policy) if critic is None else None
        value = critic if critic is not None else self.value_head
        assert value is not None
        self.modules["value"] = value
        self.optimisers["value"] = config.optimiser.model_copy(update={"lr": config.value.lr})
        kl = config.kl
        self.kl = AdaptiveKL(kl.coef, kl.target, kl.horizon) if kl.control == "adaptive" else FixedKL(kl.coef)
        self.normaliser = RewardNormaliser()

    def updates(self, experiences: Sequence[Experience], step: int, dtype: torch.dtype) -> Iterator[Batch]:
        """The iteration's epochs, ended early when the policy moved far; at first the critic may learn alone."""
        learns = frozenset({"value"}) if step < self.config.value.warmup else None
        yield from updates(
            experiences, self.config, self.weight, self.seed, step, dtype, learns, self.config.early_stop_kl
        )

    def experiences(self, rollout: Rollout, step: int) -> list[Experience]:
        """Shape the rewards, spread the credit, and cut the tables into groups."""
        config, mask_NT, ref_logp_NT = self.config, rollout.mask_NT, rollout.ref_logp_NT
        assert ref_logp_NT is not None
        value_NT = self._values(rollout)
        score_N = shaped_scores(rollout, config, self.normaliser)
        coef = self.kl.coef if config.kl.place == "reward" else 0.0
        reward_NT = token_rewards(score_N, rollout.logp_NT, ref_logp_NT, mask_NT, coef)
        credit = gae(reward_NT, value_NT, mask_NT, config.gamma, config.lam)
        advantage_NT = whiten(credit.advantage_NT, mask_NT) if config.whiten else credit.advantage_NT
        tables = {
            "mask": mask_NT,
            "old_logp": rollout.logp_NT,
            "ref_logp": ref_logp_NT,
            "advantage": advantage_NT,
            "return": credit.return_NT,
            "value": value_NT,
            "importance": rollout.importance_NT,
        }
        figures = reward_figures(rollout, reward_NT, self.kl.coef)
        self.note(rollout, figures | critic_figures(value_NT, credit.return_NT, mask_NT))
        return split(rollout.tokens, tables)

    def weight(self, experience: Experience) -> float:
        """Its share of the aggregation's denominator."""
        return weight_of(experience.table["mask"], self.config)

    def _values(self, rollout: Rollout) -> Tensor:
        """Of the critic, or of the head on the policy's trunk, which the rollout has."""
        value_NT = rollout.value_NT
        if self.critic is not None:
            value_NT = score_all(self.critic, rollout.tokens, self.config.limits.token_budget, read="value").value_NT
        assert value_NT is not None
        return value_NT

    def loss(self, items: Sequence[Experience]) -> Objective:
        """Clipped policy loss, KL in the loss where asked, entropy bonus, value loss."""
        config, groups = self.config, [item.group for item in items]
        t = stack([item.table for item in items])
        mask_NT = t["mask"]
        temperature, entropy = config.sampling.temperature, config.entropy_coef > 0
        new = score(self.policy, groups, temperature=temperature, entropy=entropy, value_head=self.value_head)
        assert new.logp_NT is not None
        bounds = (config.clip_low, config.clip_high, config.dual_clip)
        clipped = policy_loss(new.logp_NT, t["old_logp"], t["advantage"], mask_NT, *bounds, t["importance"])
        loss_NT = clipped.loss_NT
        if config.kl.place == "loss":
            estimate = kls.k2 if config.kl.estimator == "k2" else kls.k3
            loss_NT = loss_NT + self.kl.coef * estimate(new.logp_NT, t["ref_logp"], mask_NT)
        if new.entropy_NT is not None:
            loss_NT = loss_NT - config.entropy_coef * new.entropy_NT
        weight_NT = weights(mask_NT, config.aggregation, loss_NT.dtype)
        policy = weighted_sum(loss_NT, weight_NT)
        value_NT = new.value_NT if self.critic is None else score(self.critic, groups, read="value").value_NT
        assert value_NT is not None
        errors = value_loss(value_NT, t["value"], t["return"], mask_NT, config.value.clip)
        value = weighted_sum(errors.loss_NT, mask_NT.to(loss_NT.dtype))
        # Value errors are averaged over tokens whatever the policy's aggregation: bring them to one denominator.
        share = items[0].policy_denominator / items[0].token_denominator
        factor = config.value.coef if self.critic is None else 1.0
        metrics = update_figures(clipped, new.logp_NT, t["old_logp"], mask_NT) | value_figures(errors, mask_NT)
        return Objective(policy + factor * share * value, weight_of(mask_NT, config), metrics)

    def observe(self, step: int) -> dict[str, float]:
        """Figures of the iteration; moves the adaptive KL coefficient."""
        self.kl.update(self._figures["objective/kl"], self.config.prompts * self.config.answers)
        return self._figures

    def state(self) -> dict[str, Any]:
        """KL controller, reward normaliser, episode count."""
        return super().state() | {"kl": self.kl.state_dict(), "normaliser": self.normaliser.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        self.kl.load_state_dict(state["kl"])
        self.normaliser.load_state_dict(state["normaliser"])
