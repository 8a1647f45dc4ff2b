"""Our side of the rollout row: `engine.sample`, as the methods call it."""

from __future__ import annotations

from typing import Any

from assent.config.blocks import Limits
from assent.engine.sample import sample
from assent.models.load import load_policy
from benchmarks.rollouts import CHECKED, Sampled, agreement
from benchmarks.workload import Task


class Rollouts:
    """The model and its prompts; log-probabilities always come with the tokens."""

    def __init__(self, task: Task) -> None:
        self.task, self.model = task, load_policy(task.model("policy"))
        self.prompts = [group.prompt for group in task.groups]
        self.names = [[f"g{i}a{k}" for k in range(task.work["answers"])] for i in range(len(self.prompts))]
        self.seed = 0

    def loss(self) -> dict[str, float]:
        """Greedy and drawn answers with their log-probabilities."""
        greedy = self._sample([names[:1] for names in self.names], temperature=0.0, max_tokens=CHECKED)
        return agreement(self.task, greedy, self._draw())

    def step(self) -> dict[str, float]:
        """All answers of the row, once."""
        self._draw()
        return {}

    def _draw(self) -> list[Sampled]:
        self.seed += 1
        return self._sample(self.names, temperature=1.0, max_tokens=self.task.work["answer"][1])

    def _sample(self, names: list[list[str]], **how: Any) -> list[Sampled]:
        budget = self.task.variant.get("token_budget", Limits().token_budget)
        found = sample(self.model, self.prompts, names, seed=self.seed, stop=(), token_budget=budget, **how)
        return [Sampled([list(r.ids) for r in group], [list(r.logps) for r in group]) for group in found]


def build(task: Task) -> Rollouts:
    """The sampler of a row."""
    return Rollouts(task)
