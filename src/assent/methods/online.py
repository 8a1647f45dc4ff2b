"""What methods share that sample answers, score them and learn from the scores: ppo, grpo, rloo, online_dpo."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from assent.config.online import OnlineConfig
from assent.core.console import log
from assent.core.records import Prompt
from assent.core.seeds import derive
from assent.engine.generate import LocalGenerator
from assent.engine.precision import compute_dtype
from assent.methods.experience import Experience, updates
from assent.methods.figures import rollout_figures, rollout_samples
from assent.methods.rollout import Rollout, check_start, roll
from assent.methods.sft import stretch
from assent.rewards.total import TotalReward
from assent.train.method import Batch, Objective

C = TypeVar("C", bound=OnlineConfig)


class Online(ABC, Generic[C]):
    """An iteration: sample and score (`roll`), turn scores into experience, then epochs of minibatches.

    `reference` is the frozen starting policy, None where no KL is charged. A method says what its experience is
    (`experiences`), what an experience adds to the loss's denominator (`weight`), and its `loss`.
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
        self.config, self.seed, self.steps = config, seed, config.iterations
        self.generator, self.policy = generator, generator.model
        self.reference, self.reward = reference, reward
        self.prompts = list(prompts)
        self.modules: dict[str, nn.Module] = {"policy": self.policy}
        self.optimisers = {"policy": config.optimiser}
        self.value_head: nn.Linear | None = None
        self.episodes = 0
        self._figures: dict[str, float] = {}
        self._samples: list[dict[str, Any]] = []
        self.last_rollout: Rollout

    @abstractmethod
    def experiences(self, rollout: Rollout, step: int) -> list[Experience]:
        """What the updates know about each answer, a group at a time; notes the iteration's figures (`note`)."""

    @abstractmethod
    def weight(self, experience: Experience) -> float:
        """What an experience adds to the denominator of the loss."""

    @abstractmethod
    def loss(self, items: Sequence[Any]) -> Objective:
        """Sum of the loss over these experiences, with its denominator and figures."""

    def batches(self, step: int) -> Iterator[Batch]:
        """One iteration: a rollout, then epochs of minibatches."""
        self.reward.at(step)
        rollout = self.rollout(step)
        dtype = compute_dtype(self.policy)
        if step == 0:
            check_start(rollout, dtype)
        if self.reward.distrusted:
            self._end_after(step)
        yield from self.updates(self.experiences(rollout, step), step, dtype)

    def _end_after(self, step: int) -> None:
        """Make this iteration the last: the members of an ensemble no longer know what is good."""
        self.steps = step + 1
        log.print(
            f"  the reward models disagree by {self.reward.disagreement:.3g}, above combine.stop_above: "
            f"iteration {step + 1} is the last",
            style="yellow",
        )

    def rollout(self, step: int) -> Rollout:
        """Answers to the iteration's prompts, scored."""
        return self.ask(self.window(step * self.config.prompts, self.config.prompts), step)

    def window(self, first: int, size: int) -> list[Prompt]:
        """Prompts at `size` positions of an endless sequence of passes, each in another order."""
        return [self.prompts[i] for i in stretch(len(self.prompts), first, size, self.seed)]

    def ask(self, prompts: Sequence[Prompt], step: int, turn: int = 0) -> Rollout:
        """Answers to these prompts, scored; a further `turn` of an iteration draws other ones."""
        return roll(
            self.generator,
            self.reference,
            self.reward,
            prompts,
            self.config.answers,
            derive(self.seed, "rollout", step, *([turn] if turn else [])),
            f"{self.generator.source}:{step}",
            self.config.limits.token_budget,
            self.value_head,
            whole=step == 0,
            scoreless=turn > 0,
        )

    def updates(self, experiences: Sequence[Experience], step: int, dtype: torch.dtype) -> Iterator[Batch]:
        """The iteration's epochs."""
        yield from updates(experiences, self.config, self.weight, self.seed, step, dtype)

    def note(self, rollout: Rollout, figures: dict[str, float]) -> None:
        """Keep the iteration's figures and some answers."""
        self.episodes += len(rollout.score_N)
        # What a reward function logs comes first: it must not replace a figure of ours.
        self._figures = self.reward.figures() | rollout_figures(rollout) | figures | {"episode": float(self.episodes)}
        self._samples = rollout_samples(rollout)
        self.last_rollout = rollout

    def observe(self, step: int) -> dict[str, float]:
        """Figures of the iteration."""
        return self._figures

    def samples(self) -> list[dict[str, Any]]:
        """A few answers of the iteration, with their scores."""
        return self._samples

    def state(self) -> dict[str, Any]:
        """The episode count, and the steps, which may have become fewer. Rollouts are replayed, never half-done."""
        return {"episodes": self.episodes, "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.episodes, self.steps = state["episodes"], state["steps"]
