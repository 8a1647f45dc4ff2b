"""Our side of the GRPO row: `methods.grpo` as its step puts it together, the reward a Python function."""

from __future__ import annotations

from assent.config.steps import GrpoConfig
from assent.methods.grpo import Grpo
from assent.rewards.function import FunctionReward
from assent.rewards.total import TotalReward
from benchmarks.ours.online import Online, ask, generator_of, settings
from benchmarks.rollouts import given
from benchmarks.workload import Task


class GrpoSide(Online):
    """Whole steps, and the first loss and gradient norm for given answers."""

    def loss(self) -> dict[str, float]:
        """-(sum of advantage x length) / (sum of lengths), whose gradient is the one that counts."""
        figures, norms = self.first()
        return {"loss": figures["loss"], "grad_norm": norms["policy"], "score": figures["objective/scores"]}


def build(task: Task) -> GrpoSide:
    """The method of the row."""
    config = GrpoConfig.model_validate(settings(task, task.work["answers"]))
    budget = config.limits.token_budget
    (source,) = config.rewards
    assert source.function
    reward = TotalReward([("even", FunctionReward(source.function, source.timeout), source.weight)])
    generator = generator_of(task, config.sampling, budget)
    method = Grpo(generator, None, reward, ask(task.groups), config, seed=0)
    return GrpoSide(method, budget, given(task.groups, ragged=True))
