"""What each kind of step may be told. One class a kind; a kind's inputs are named in `INPUTS`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from assent.config.blocks import Block, Count, Limits, NonNegative, Optimiser, Positive, Sampling, Share

LAB = "lab"
"""Name of the embedded world, wherever a recipe names data."""


class StepConfig(Block):
    """What every step has. `from` names the steps whose artifacts are read."""

    INPUTS: ClassVar[dict[str, bool]] = {}
    """Input name -> whether it is required. `*` stands for any name."""
    SEVERAL: ClassVar[frozenset[str]] = frozenset()
    """Inputs that take a list of steps."""

    kind: str
    """Kind of step; the step's name where left out."""
    inputs: dict[str, str | list[str]] = Field(default_factory=dict, alias="from")
    """Input name -> name of the step whose artifact is read (a list where several are taken)."""
    seed: int | None = None
    """Seed of this step; default: the recipe's."""


class PretrainConfig(StepConfig):
    """Train a small model from nothing on plain text: the lab's base model."""

    kind: Literal["pretrain"] = "pretrain"
    data: str = LAB
    """`lab`, or a file or hub id with a `text` column."""
    documents: Count = 33000
    """Documents written by the lab."""
    steps: Count = 3000
    """Optimiser steps."""
    batch_rows: Count = 8
    """Rows in a step."""
    row_tokens: Count = 64
    """Tokens in a row; documents are joined, cut to it, and read in order (the lab's corpus is a curriculum)."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Changes to the lab's model architecture (Llama configuration keys)."""
    optimiser: Optimiser = Optimiser(lr=4e-3, warmup=0.1, beta2=0.95, weight_decay=0.01)
    limits: Limits = Limits(log_every=20, checkpoint_every=200)


class SftConfig(StepConfig):
    """Supervised fine-tuning on demonstrations: loss on answers only."""

    INPUTS: ClassVar[dict[str, bool]] = {"model": False}
    kind: Literal["sft"] = "sft"
    model: str | None = None
    """Hugging Face folder or hub id to start from, where no step is."""
    data: str = LAB
    """`lab`, or a file, folder or hub id of demonstrations; of pairs, the chosen answers are taken."""
    demonstrations: Count = 2400
    """Demonstrations written by the lab."""
    template: str | None = None
    """Chat template: `tokenizer` (the model's own), `plain`, `chatml`, or a Jinja file."""
    epochs: Count = 3
    """Passes over the demonstrations."""
    batch: Count = 32
    """Demonstrations in an optimiser step."""
    sampling: Sampling = Sampling(max_tokens=24)
    """How the answers in samples.jsonl are drawn: the same prompts at every logged step."""
    optimiser: Optimiser = Optimiser(lr=1e-3)
    limits: Limits = Limits()


class Raters(Block):
    """The lab's simulated raters; docs/lab.md explains each dial."""

    count: Count = 20
    """Raters in the pool; each draws his own dials around these."""
    per_group: Count = 1
    """Raters who judge each group."""
    dials: dict[str, float | str] = Field(default_factory=dict)
    """Dial -> value, over the unbiased default (docs/lab.md)."""

    @model_validator(mode="after")
    def _enough(self) -> Raters:
        if self.per_group > self.count:
            raise ValueError(f"{self.per_group} raters a group, but there are only {self.count}")
        return self


class CollectConfig(StepConfig):
    """Answers to each prompt, and people's rankings of them."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": False}
    kind: Literal["collect"] = "collect"
    source: Literal["lab", "file"] = "lab"
    """Where judgments come from: the lab's simulated raters, or a file of pairs or rankings."""
    data: str = LAB
    """Judgments: a file, folder or hub id, with `source: file`."""
    guideline: str | None = None
    """File with the guideline the raters worked under; its hash is stamped on judgments that name none."""
    prompts: Count = 3000
    """Training prompts the lab asks."""
    held_out_prompts: Count = 256
    """Prompts about held-out subjects, judged only to measure the reward model on."""
    answers: int = Field(default=4, ge=2, le=16)
    """Answers sampled per prompt."""
    raters: Raters = Raters()
    sampling: Sampling = Sampling(max_tokens=24)
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass."""

    @model_validator(mode="after")
    def _source_has_data(self) -> CollectConfig:
        if (self.source == "file") != (self.data != LAB):
            raise ValueError("`source: file` goes with `data: PATH`, `source: lab` with `data: lab`")
        if self.source == "lab" and "policy" not in self.inputs:
            raise ValueError("answers are sampled from a policy: write `from: {policy: STEP}`")
        return self


class RewardConfig(StepConfig):
    """A reward model that predicts rankings: Bradley-Terry on all pairs of a ranking at once."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": False, "judgments": True}
    kind: Literal["reward"] = "reward"
    model: str | None = None
    """Hugging Face folder or hub id whose trunk the reward model starts from; default: the policy's."""
    template: str | None = None
    """Chat template, where the model has none."""
    epochs: Count = 1
    """Passes over the rankings."""
    batch: Count = 32
    """Judgments in an optimiser step."""
    centre: NonNegative = 0.0
    """Weight of (r_w + r_l)^2, which keeps scores near zero."""
    normalise_prompts: int = Field(default=256, ge=0)
    """Prompts whose answers from `policy` set mean 0 and deviation 1; 0 leaves the scores as trained."""
    sampling: Sampling = Sampling(max_tokens=24)
    optimiser: Optimiser = Optimiser(lr=1e-3)
    limits: Limits = Limits()


class RewardSource(Block):
    """One term of the reward: a reward model or a Python function, times a weight."""

    model: str | None = None
    """Folder or hub id of a sequence classifier with one label (a step's goes under `from`)."""
    function: str | None = None
    """Dotted path `package.module:name` or `package.module.name` of a function with TRL's signature."""
    weight: float = 1.0
    """Factor of this term in the sum."""
    timeout: Positive = 60.0
    """Seconds one call of the function may take."""

    @model_validator(mode="after")
    def _one_of(self) -> RewardSource:
        if (self.model is None) == (self.function is None):
            raise ValueError("give exactly one of `model` and `function`")
        return self


class Kl(Block):
    """The leash to the reference policy."""

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


class Value(Block):
    """The critic."""

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


class PpoConfig(StepConfig):
    """Proximal policy optimisation against a reward, with a KL penalty to the starting policy."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": True, "reward": False}
    SEVERAL: ClassVar[frozenset[str]] = frozenset({"reward"})
    kind: Literal["ppo"] = "ppo"
    rewards: list[RewardSource] = Field(default_factory=list)
    """Further reward terms beside the reward model under `from`."""
    reward_weight: float = 1.0
    """Factor of the reward models under `from`."""
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
    clip_low: Positive = 0.2
    """The ratio new/old counts down to 1 - clip_low."""
    clip_high: Positive = 0.2
    """The ratio new/old counts up to 1 + clip_high."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the loss of bad answers whose ratio explodes (off: null; 3 is usual)."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """The policy loss is averaged over tokens, over answers, or over answers x max_tokens."""
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
    no_eos_penalty: NonNegative = 1.0
    """Taken from the score of an answer that never stops."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus, per token."""
    early_stop_kl: Positive | None = None
    """An iteration's passes end once KL(new, old) per token exceeds this."""
    kl: Kl = Kl()
    value: Value = Value()
    sampling: Sampling = Sampling(max_tokens=24)
    optimiser: Optimiser = Optimiser(lr=3e-4, schedule="linear", warmup=0.0, eps=1e-5)
    limits: Limits = Limits(log_every=1, checkpoint_every=10)

    @model_validator(mode="after")
    def _has_reward(self) -> PpoConfig:
        if "reward" not in self.inputs and not self.rewards:
            raise ValueError("a reward is needed: `from: {reward: STEP}` or `rewards: [...]`")
        if self.prompts % self.minibatches:
            raise ValueError("prompts must be a multiple of minibatches")
        if self.value.warmup >= self.iterations:
            raise ValueError("value.warmup must be less than iterations, or the policy never learns")
        return self


class AuditConfig(StepConfig):
    """What did each model really learn? One row a model, each figure beside the reference's."""

    INPUTS: ClassVar[dict[str, bool]] = {"*": True, "judge": False}
    kind: Literal["audit"] = "audit"
    reference: str = "sft"
    """Input name of the model the others are compared with."""
    data: str = LAB
    """Held-out prompts: `lab`, or a file, folder or hub id."""
    prompts: Count | None = None
    """At most this many prompts; default: all held-out ones."""
    answers: int = Field(default=2, ge=2)
    """Answers sampled per prompt."""
    sampling: Sampling = Sampling(max_tokens=24)
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass."""

    @model_validator(mode="after")
    def _has_reference(self) -> AuditConfig:
        models = [name for name in self.inputs if name != "judge"]
        if self.reference not in models:
            raise ValueError(f"`reference: {self.reference}` is none of its inputs ({', '.join(models) or 'none'})")
        return self


class CompareConfig(StepConfig):
    """Which of two models wins, prompt by prompt, by gold or by a reward model."""

    INPUTS: ClassVar[dict[str, bool]] = {"a": True, "b": True, "judge": False}
    kind: Literal["compare"] = "compare"
    data: str = LAB
    """Held-out prompts: `lab` (judged by gold unless `judge` is given), or a file, folder or hub id."""
    prompts: Count | None = None
    """At most this many prompts."""
    answers: Count = 1
    """Answers each model samples per prompt."""
    sampling: Sampling = Sampling(max_tokens=24)
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass."""

    @model_validator(mode="after")
    def _has_judge(self) -> CompareConfig:
        if self.data != LAB and "judge" not in self.inputs:
            raise ValueError("gold judges only `data: lab`: write `from: {judge: STEP}` with a reward model")
        return self


KINDS: dict[str, type[StepConfig]] = {
    "pretrain": PretrainConfig,
    "sft": SftConfig,
    "collect": CollectConfig,
    "reward": RewardConfig,
    "ppo": PpoConfig,
    "audit": AuditConfig,
    "compare": CompareConfig,
}

GIVES: dict[str, tuple[str, ...]] = {"judgments": ("collect",), "reward": ("reward",), "judge": ("reward",)}
"""Input name -> kinds of step that can stand there."""
LANGUAGE_MODELS = ("pretrain", "sft", "ppo")
"""Kinds of step that can stand for every other input."""
