"""Methods that sample answers, score them and learn from the scores: their settings and blocks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from assent.config.blocks import (
    LAB,
    Adapter,
    Block,
    Count,
    Limits,
    NonNegative,
    Optimiser,
    Positive,
    Sampling,
    Share,
    StepConfig,
)
from assent.config.preferences import PreferenceLoss
from assent.config.rewards import Combine, RewardSource


class Kl(Block):
    """The leash to the reference policy."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "estimator": ("place", ("loss",)),
        "target": ("control", ("adaptive",)),
        "horizon": ("control", ("adaptive",)),
    }
    coef: NonNegative = 0.05
    """`kl_coef`: reward lost per nat of KL to the reference (start value, with `control: adaptive`)."""
    place: Literal["reward", "loss"] = "reward"
    """In the reward (k1 per token) or as a term of the loss; never both."""
    estimator: Literal["k2", "k3"] = "k2"
    """Estimator in the loss: k2 has the exact gradient, k3 is GRPO's convention."""
    control: Literal["fixed", "adaptive"] = "fixed"
    """Keep the coefficient, or steer it towards `target`."""
    target: Positive = 6.0
    """Adaptive: KL wanted, nats per answer, summed over its tokens."""
    horizon: Positive = 10000.0
    """Adaptive: answers over which an error is corrected."""

    @model_validator(mode="after")
    def _can_move(self) -> Kl:
        if self.control == "adaptive" and not self.coef:
            raise ValueError("`control: adaptive` multiplies `coef`, so it must not start at 0")
        return self


class GroupKl(Block):
    """The leash to the reference policy, of methods that compare an answer with its siblings."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {"estimator": ("place", ("loss",))}
    coef: NonNegative = 0.0
    """`kl_coef`: weight of the KL to the reference, per nat; 0: no reference is loaded."""
    place: Literal["loss", "reward"] = "loss"
    """A term of the loss, per token, or taken from an answer's score (k1, summed over its tokens); never both."""
    estimator: Literal["k2", "k3"] = "k3"
    """Estimator in the loss: k3 is GRPO's convention, k2 has the exact gradient."""

    @model_validator(mode="after")
    def _has_a_weight(self) -> Self:
        for name in sorted({"place", "estimator"} & self.model_fields_set):
            if "coef" not in self.model_fields_set:
                raise ValueError(f"`{name}` is not read with `coef: 0`, the default: give `coef` too")
        return self


class RewardKl(Block):
    """The leash to the reference policy, taken from an answer's score."""

    coef: NonNegative = 0.05
    """`kl_coef`: score lost per nat of KL to the reference (k1, summed over the answer); 0: no reference is loaded."""


class Value(Block):
    """The critic."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "init": ("trunk", ("separate",)),
        "coef": ("trunk", ("shared",)),
    }
    trunk: Literal["separate", "shared"] = "separate"
    """A model of its own, or a head (zero at the start) on the policy's trunk."""
    init: Literal["reward", "policy"] = "reward"
    """What a separate trunk starts from."""
    lr: Positive = 1e-3
    """Peak learning rate of a separate trunk or of the head."""
    coef: NonNegative = 0.5
    """Weight of the value loss where the trunk is shared."""
    clip: Positive | None = 0.2
    """The value may move this far from its old prediction; null: unclipped."""
    warmup: int = Field(default=0, ge=0)
    """Iterations in which only the critic learns."""


class OnlineConfig(StepConfig):
    """What every method that samples and learns from scores may be told."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": True, "reward": False}
    SEVERAL: ClassVar[frozenset[str]] = frozenset({"reward"})
    WITH: ClassVar[dict[str, str]] = {"reward_weight": "reward", "combine": "reward"}
    rewards: list[RewardSource] = Field(default_factory=list)
    """Further reward terms beside the reward model under `from`."""
    reward_weight: float = 1.0
    """Factor of the reward models under `from`."""
    combine: Combine = Combine()
    """How an ensemble under `from` becomes one score."""
    data: str = LAB
    """Prompts: `lab`, or a file, folder or hub id; `lab` means its training prompts."""
    iterations: Count = 60
    """Rounds of sampling and learning."""
    prompts: Count = 64
    """Prompts in an iteration."""
    answers: Count = 1
    """Answers sampled per prompt."""
    epochs: Count = 2
    """Passes over each iteration's answers."""
    minibatches: Count = 2
    """Optimiser steps in a pass; must divide `prompts`, whose answers stay together."""
    no_eos_penalty: NonNegative = 1.0
    """Taken from the score of an answer that never stops."""
    adapter: Adapter | None = None
    """LoRA instead of training every weight; the reference is then the policy with the adapter off."""
    sampling: Sampling = Sampling(max_tokens=24)
    optimiser: Optimiser = Optimiser(lr=3e-4, schedule="linear", warmup=0.0, eps=1e-5)
    limits: Limits = Limits(log_every=1, checkpoint_every=10)

    @model_validator(mode="after")
    def _has_reward(self) -> Self:
        if "reward" not in self.inputs and not self.rewards:
            raise ValueError("a reward is needed: `from: {reward: STEP}` or `rewards: [...]`")
        if self.prompts % self.minibatches:
            raise ValueError("prompts must be a multiple of minibatches")
        return self


class PolicyGradientConfig(OnlineConfig):
    """What every method with a clipped policy loss may be told."""

    clip_low: Positive = 0.2
    """The ratio new/old counts down to 1 - clip_low."""
    clip_high: Positive = 0.2
    """The ratio new/old counts up to 1 + clip_high."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """The policy loss is averaged over tokens, over answers, or over answers x max_tokens."""


class PpoConfig(PolicyGradientConfig):
    """Proximal policy optimisation against a reward, with a KL penalty to the starting policy."""

    kind: Literal["ppo"] = "ppo"
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the loss of bad answers whose ratio explodes (off: null; 3 is usual)."""
    gamma: Share = 1.0
    """Discount per token."""
    lam: Share = 0.95
    """Lambda of generalised advantage estimation."""
    whiten: bool = True
    """Whether advantages get mean 0 and deviation 1 over all tokens of the iteration."""
    reward_clip: Positive | None = 5.0
    """Scores are cut to +-this, before the KL penalty."""
    reward_scale: Literal["none", "running"] = "none"
    """Whether scores are divided by their running deviation (the mean is not shifted)."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus, per token."""
    early_stop_kl: Positive | None = None
    """An iteration's passes end once KL(new, old) per token exceeds this."""
    kl: Kl = Kl()
    value: Value = Value()

    @model_validator(mode="after")
    def _policy_learns(self) -> PpoConfig:
        if self.value.warmup >= self.iterations:
            raise ValueError("value.warmup must be less than iterations, or the policy never learns")
        return self

    @model_validator(mode="after")
    def _critic_has_a_start(self) -> PpoConfig:
        if self.value.init == "reward" and "init" in self.value.model_fields_set and "reward" not in self.inputs:
            raise ValueError(
                "`value.init: reward` is not read without `from: {reward: STEP}`: no reward model is there"
            )
        return self


class GroupConfig(PolicyGradientConfig):
    """What methods may be told that compare an answer with its siblings, without a value model."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {"no_eos_penalty": ("truncated", ("keep",))}
    prompts: Count = 16
    """Prompts in an iteration, one group each."""
    answers: int = Field(default=8, ge=2)
    """Answers sampled per prompt: the group an answer is compared with."""
    epochs: Count = 1
    """Passes over each iteration's answers."""
    minibatches: Count = 1
    """Optimiser steps in a pass; must divide `prompts`, whose answers stay together."""
    truncated: Literal["keep", "mask"] = "keep"
    """Answers that never stop: kept, less `no_eos_penalty`, or out of their group and of the loss."""
    overlong: Count | None = None
    """Over the last so many tokens before sampling.max_tokens an answer's score falls by up to 1; null: not at all."""
    resample: int = Field(default=0, ge=0)
    """Most times an iteration asks further prompts in place of those whose answers all score the same."""

    @field_validator("answers", mode="before")
    @classmethod
    def _has_siblings(cls, answers: Any) -> Any:
        if isinstance(answers, int) and not isinstance(answers, bool) and answers < 2:
            raise ValueError("an answer is compared with its siblings, so a group needs at least 2 answers")
        return answers

    @model_validator(mode="after")
    def _room_to_fall(self) -> Self:
        if self.overlong is not None and self.overlong > self.sampling.max_tokens:
            raise ValueError("overlong must not exceed sampling.max_tokens")
        return self


class GrpoConfig(GroupConfig):
    """Group relative policy optimisation: each answer against its siblings, in their deviations."""

    kind: Literal["grpo"] = "grpo"
    scale: Literal["group", "batch", "none"] = "group"
    """What an answer's lead over its siblings is divided by: their deviation, the whole iteration's, or nothing."""
    kl: GroupKl = GroupKl()


class RlooConfig(GroupConfig):
    """REINFORCE with the mean of an answer's siblings as its baseline."""

    kind: Literal["rloo"] = "rloo"
    answers: int = Field(default=4, ge=2)
    """Answers sampled per prompt: the group an answer is compared with."""
    aggregation: Literal["token", "sequence", "constant"] = "constant"
    """The policy loss is averaged over tokens, over answers, or over answers x max_tokens."""
    whiten: bool = False
    """Whether advantages get mean 0 and deviation 1 over the whole iteration."""
    kl: RewardKl = RewardKl()


class OnlineDpoConfig(OnlineConfig, PreferenceLoss):
    """DPO on fresh answers: sample, rank by the reward, update."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = PreferenceLoss.NEEDS
    kind: Literal["online_dpo"] = "online_dpo"
    prompts: Count = 32
    """Prompts in an iteration, one group each."""
    answers: int = Field(default=2, ge=2)
    """Answers sampled per prompt."""
    soft: bool = False
    """Whether a pair's label is sigmoid(difference of the scores), instead of certain: a narrow lead then counts as
    little as it says."""
    epochs: Count = 1
    """Passes over each iteration's answers."""
    minibatches: Count = 1
    """Optimiser steps in a pass; must divide `prompts`, whose answers stay together."""

    @model_validator(mode="after")
    def _pairs_have_sides(self) -> Self:
        if self.loss == "kto" and self.soft:
            raise ValueError("`loss: kto` takes answers as good or bad: `soft` goes with the other losses")
        return self
