"""Proximal policy optimisation (Schulman et al. 2017) as RLHF uses it (Ziegler et al. 2019, N+ 2024).

An iteration: sample answers; score them; charge KL to the reference; spread credit with GAE; then a few
passes of clipped updates for the policy and the value model. The three formulas a reader looks for:
losses/ppo.py (the clipped loss), advantages/gae.py (GAE), advantages/kl_penalty.py (the KL term).
Numbered details and what we left out: docs/algorithms/ppo.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from assent.advantages.gae import gae
from assent.advantages.kl_penalty import AdaptiveKL, FixedKL, token_rewards
from assent.advantages.normalise import RewardNormaliser
from assent.config.steps import PpoConfig
from assent.core.records import Prompt
from assent.core.seeds import derive, order
from assent.engine import score, score_all
from assent.engine.generate import LocalGenerator
from assent.losses.ppo import policy_loss
from assent.losses.value import value_loss
from assent.methods.experience import (
    Experience,
    check_first,
    minibatch,
    shaped_scores,
    split,
    stack,
    weight_of,
)
from assent.methods.figures import rollout_figures, rollout_samples, update_figures
from assent.methods.rollout import Rollout, check_start, roll
from assent.methods.sft import window
from assent.models.heads import value_head
from assent.ops import kl as kls
from assent.ops.masked import explained_variance, whiten
from assent.ops.reduce import weighted_sum, weights
from assent.rewards.total import TotalReward
from assent.train.method import Batch, Objective


class Ppo:
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
        self.config, self.seed, self.steps = config, seed, config.iterations
        self.generator, self.policy = generator, generator.model
        self.reference, self.reward = reference, reward
        self.prompts = list(prompts)
        self.critic = critic
        self.head = value_head(self.policy) if critic is None else None
        value = critic if critic is not None else self.head
        assert value is not None
        self.modules: dict[str, nn.Module] = {"policy": self.policy, "value": value}
        value_optimiser = config.optimiser.model_copy(update={"lr": config.value.lr})
        self.optimisers = {"policy": config.optimiser, "value": value_optimiser}
        kl = config.kl
        self.kl = AdaptiveKL(kl.coef, kl.target, kl.horizon) if kl.control == "adaptive" else FixedKL(kl.coef)
        self.normaliser = RewardNormaliser()
        self.episodes = 0
        self._figures: dict[str, float] = {}
        self._samples: list[dict[str, Any]] = []
        self.last_rollout: Rollout

    def batches(self, step: int) -> Iterator[Batch]:
        """One iteration: a rollout, then epochs of minibatches, ended early when the policy moved far."""
        config = self.config
        self.reward.at(step)
        chosen = window(len(self.prompts), config.prompts, step, self.seed)
        rollout = roll(
            self.generator,
            self.reference,
            self.reward,
            [self.prompts[i] for i in chosen],
            config.answers,
            derive(self.seed, "rollout", step),
            f"{self.generator.source}:{step}",
            config.limits.token_budget,
        )
        if step == 0:
            check_start(rollout, self.policy.dtype)
        experiences = self._experiences(rollout, step)
        learns = frozenset({"value"}) if step < config.value.warmup else None
        unchecked = step == 0
        for epoch in range(config.epochs):
            shuffled = [experiences[i] for i in order(len(experiences), self.seed, step, epoch)]
            for first in range(config.minibatches):
                batch = minibatch(shuffled[first :: config.minibatches], config, learns)
                if batch is None:
                    continue
                yield batch
                if unchecked:
                    check_first(batch.result)
                    unchecked = False
                if config.early_stop_kl and batch.result["policy/approxkl_avg"] > config.early_stop_kl:
                    return

    def _experiences(self, rollout: Rollout, step: int) -> list[Experience]:
        """Shape the rewards, spread the credit, and cut the tables into groups."""
        config, mask_NT = self.config, rollout.mask_NT
        value_NT = self._values(rollout)
        score_N = shaped_scores(rollout, config, self.normaliser)
        coef = self.kl.coef if config.kl.place == "reward" else 0.0
        reward_NT = token_rewards(score_N, rollout.logp_NT, rollout.ref_logp_NT, mask_NT, coef)
        credit = gae(reward_NT, value_NT, mask_NT, config.gamma, config.lam)
        advantage_NT = whiten(credit.advantage_NT, mask_NT) if config.whiten else credit.advantage_NT
        tables = {
            "mask": mask_NT,
            "old_logp": rollout.logp_NT,
            "ref_logp": rollout.ref_logp_NT,
            "advantage": advantage_NT,
            "return": credit.return_NT,
            "value": value_NT,
            "importance": rollout.importance_NT,
        }
        self._note(rollout, reward_NT, explained_variance(value_NT, credit.return_NT, mask_NT), step)
        return split(rollout.tokens, tables)

    def _values(self, rollout: Rollout) -> Tensor:
        budget = self.config.limits.token_budget
        if self.critic is not None:
            scores = score_all(self.critic, rollout.tokens, budget, read="value")
        else:
            scores = score_all(self.policy, rollout.tokens, budget, value_head=self.head)
        assert scores.value_NT is not None
        return scores.value_NT

    def loss(self, items: Sequence[Experience]) -> Objective:
        """Clipped policy loss, KL in the loss where asked, entropy bonus, value loss."""
        config, groups = self.config, [item.group for item in items]
        t = stack([item.table for item in items])
        mask_NT = t["mask"]
        temperature, entropy = config.sampling.temperature, config.entropy_coef > 0
        new = score(self.policy, groups, temperature=temperature, entropy=entropy, value_head=self.head)
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
        metrics = update_figures(clipped, errors, new.logp_NT, t["old_logp"], mask_NT)
        return Objective(policy + factor * share * value, weight_of(mask_NT, config), metrics)

    def observe(self, step: int) -> dict[str, float]:
        """Figures of the iteration; moves the adaptive KL coefficient."""
        self.kl.update(self._figures["objective/kl"], self.config.prompts * self.config.answers)
        return self._figures

    def samples(self) -> list[dict[str, Any]]:
        """A few answers of the iteration, with their scores."""
        return self._samples

    def _note(self, rollout: Rollout, reward_NT: Tensor, explained: Tensor, step: int) -> None:
        self.episodes += len(rollout.score_N)
        # What a reward function logs comes first: it must not replace a figure of ours, and steer the KL by it.
        self._figures = (
            self.reward.figures()
            | rollout_figures(rollout, reward_NT, self.kl.coef)
            | {"episode": float(self.episodes), "value/explained_variance": float(explained)}
        )
        self._samples = rollout_samples(rollout)
        self.last_rollout = rollout

    def state(self) -> dict[str, Any]:
        """KL controller, reward normaliser, episode count. Rollouts are replayed, never half-done."""
        return {"kl": self.kl.state_dict(), "normaliser": self.normaliser.state_dict(), "episodes": self.episodes}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.kl.load_state_dict(state["kl"])
        self.normaliser.load_state_dict(state["normaliser"])
        self.episodes = state["episodes"]
