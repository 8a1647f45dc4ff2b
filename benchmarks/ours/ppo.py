"""Our side of the PPO rows: `methods.ppo` as its step puts it together, the reward a sequence classifier.

Variants: `trunk` (`separate`: a critic of its own, as TRL has it; `shared`: a head on the policy's trunk) and
`answers` (of one prompt; fewer prompts then, so that as many tokens are sampled).
"""

from __future__ import annotations

from assent.config.steps import PpoConfig
from assent.methods.ppo import Ppo
from assent.models.load import load_policy, load_reward_model
from assent.rewards.model import ModelReward
from assent.rewards.total import TotalReward
from benchmarks.ours.online import Online, ask, generator_of, settings
from benchmarks.rollouts import given
from benchmarks.workload import Task


class PpoSide(Online):
    """Whole steps, and figures of the first update for given answers."""

    def loss(self) -> dict[str, float]:
        """What the row's `agree` names as `loss`, further figures, and gradient norms by module."""
        figures, norms = self.first()
        found = {name: figures[f"loss/{name}_avg"] for name in ("policy", "value")}
        found |= {"score": figures["objective/scores"], "kl": figures["objective/kl"]}
        return {"loss": found[self.agree], **found, "grad_norm": norms["policy"], "value_grad_norm": norms["value"]}

    agree = "value"


def build(task: Task) -> PpoSide:
    """The method of the row."""
    trunk, answers = task.variant.get("trunk", "separate"), task.variant.get("answers", 1)
    value = {"trunk": trunk, "lr": task.settings["lr"], "clip": 0.2}
    config = PpoConfig.model_validate(
        settings(
            task, answers, value=value, kl={"coef": task.settings["kl_coef"]}, lam=0.95, gamma=1.0, whiten=True,
            reward_clip=None,
        )
    )  # fmt: skip
    budget = config.limits.token_budget
    generator = generator_of(task, config.sampling, budget)
    reference = load_policy(task.model("policy")).requires_grad_(False)
    judge = load_reward_model(task.model("reward"))
    reward = TotalReward([("reward", ModelReward("reward", judge, generator.tokenizer, budget), 1.0)])
    critic = load_reward_model(task.model("critic")) if trunk == "separate" else None
    prompts = ask(task.groups[: config.prompts])
    side = PpoSide(Ppo(generator, reference, reward, critic, prompts, config, seed=0), budget, given(task.groups))
    side.agree = task.settings["agree"]
    return side
