"""What each kind of step may be told. One class a kind; a kind's inputs are named in `INPUTS`.

Kinds that sample and learn from scores stand in `config/online.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from assent.config.blocks import LAB, LAB_SUMS, Adapter, Block, Count, Limits, Optimiser, Sampling, StepConfig
from assent.config.online import (
    GroupConfig,
    GrpoConfig,
    Kl,
    OnlineConfig,
    OnlineDpoConfig,
    PolicyGradientConfig,
    PpoConfig,
    RlooConfig,
    Value,
)
from assent.config.preferences import DpoConfig, Ensemble, Labels, PreferenceLoss, RewardConfig
from assent.config.rewards import Combine, RewardSource

__all__ = [
    "GIVES",
    "KINDS",
    "LAB",
    "LANGUAGE_MODELS",
    "AuditConfig",
    "BestOfConfig",
    "CollectConfig",
    "Combine",
    "CompareConfig",
    "DpoConfig",
    "Ensemble",
    "GroupConfig",
    "GrpoConfig",
    "Kl",
    "Labels",
    "OnlineConfig",
    "OnlineDpoConfig",
    "PolicyGradientConfig",
    "PpoConfig",
    "PreferenceLoss",
    "PretrainConfig",
    "Raters",
    "RewardConfig",
    "RewardSource",
    "RlooConfig",
    "SftConfig",
    "StepConfig",
    "Value",
]


FEEDBACK = "feedback.db"
"""Where `assent serve` keeps a project that is not named otherwise."""
SERVICE: dict[str, tuple[str, tuple[Any, ...]]] = dict.fromkeys(("db", "wait"), ("source", ("service",)))


class PretrainConfig(StepConfig):
    """Train a small model from nothing on plain text: the lab's base model."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {"documents": ("data", (LAB, LAB_SUMS))}
    UNREAD: ClassVar[frozenset[str]] = frozenset({"limits.max_length", "limits.too_long"})
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

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "demonstrations": ("data", (LAB, LAB_SUMS)),
        "data": ("source", ("data",)),
        **SERVICE,
    }
    INPUTS: ClassVar[dict[str, bool]] = {"model": False, "demonstrations": False}
    INSTEAD: ClassVar[dict[str, str]] = {
        "model": "model",
        "source": "demonstrations",
        "data": "demonstrations",
        "demonstrations": "demonstrations",
    }
    kind: Literal["sft"] = "sft"
    model: str | None = None
    """Hugging Face folder or hub id to start from, where no step is."""
    source: Literal["data", "service"] = "data"
    """Where demonstrations come from: what `data` names, or the written and ideal answers of the rating service."""
    db: str = FEEDBACK
    """The rating service's store: a SQLite file or a URL, as `assent serve --db` takes it."""
    wait: bool = False
    """Wait until every prompt in the service's queue is written for, instead of stopping with a count."""
    data: str = LAB
    """`lab`, or a file, folder or hub id of demonstrations; of pairs, the chosen answers are taken. Refused where
    a `best_of` step gives the demonstrations (`from: {demonstrations: STEP}`)."""
    demonstrations: Count = 2400
    """Demonstrations written by the lab."""
    template: str | None = None
    """Chat template: `tokenizer` (the model's own), `plain`, `chatml`, or a Jinja file."""
    epochs: Count = 3
    """Passes over the demonstrations."""
    batch: Count = 32
    """Demonstrations in an optimiser step."""
    adapter: Adapter | None = None
    """LoRA instead of training every weight; merged into the model that is written."""
    sampling: Sampling = Sampling(max_tokens=24)
    """How the answers in samples.jsonl are drawn: the same prompts at every logged step."""
    optimiser: Optimiser = Optimiser(lr=1e-3)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _service_writes(self) -> SftConfig:
        if self.source == "service" and "demonstrations" in self.model_fields_set:
            raise ValueError("`demonstrations` is not read with `source: service`; it goes with `data: lab`")
        return self


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

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        **dict.fromkeys(
            ("prompts", "held_out_prompts", "answers", "sampling", "token_budget"), ("source", ("lab", "service"))
        ),
        "raters": ("source", ("lab",)),
        "overlap": ("source", ("service",)),
        **SERVICE,
    }
    WITH_POLICY: ClassVar[frozenset[str]] = frozenset(
        {"data", "prompts", "held_out_prompts", "answers", "sampling", "token_budget", "overlap"}
    )
    INPUTS: ClassVar[dict[str, bool]] = {"policy": False, "reward": False}
    kind: Literal["collect"] = "collect"
    source: Literal["lab", "file", "service"] = "lab"
    """Where judgments come from: the lab's simulated raters, a file of pairs or rankings, or people who judge in the
    rating service: a snapshot of its store, with the policy's answers put in its queue first where one is given;
    those an ensemble disagrees about most are handed out first where it stands under `from: {reward: STEP}`."""
    data: str = LAB
    """Judgments: a file, folder or hub id, with `source: file`. With `source: service`: the prompts to ask."""
    db: str = FEEDBACK
    """The rating service's store: a SQLite file or a URL, as `assent serve --db` takes it."""
    wait: bool = False
    """Wait until the service's queue is judged, instead of stopping with a count, to be run again."""
    overlap: Count = 1
    """People who judge each group that is put in the service's queue."""
    guideline: str | None = None
    """File with the guideline the raters worked under; its hash is stamped on judgments that name none."""
    prompts: Count = 3000
    """Training prompts that are asked."""
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
        if "reward" in self.inputs and (self.source != "service" or "policy" not in self.inputs):
            raise ValueError(
                "`from: {reward: STEP}` orders what a policy puts in the queue: `source: service` with both"
            )
        if self.source != "service" and (self.source == "file") != (self.data != LAB):
            raise ValueError("`source: file` goes with `data: PATH`, `source: lab` with `data: lab`")
        if self.source == "service" and "policy" not in self.inputs:
            if unread := sorted(self.WITH_POLICY & self.model_fields_set):
                raise ValueError(f"`{unread[0]}` is not read without `from: {{policy: STEP}}`: nothing is sampled")
            return self
        if self.source == "lab" and "policy" not in self.inputs:
            raise ValueError("answers are sampled from a policy: write `from: {policy: STEP}`")
        if self.source == "file" and self.inputs:
            raise ValueError("`from` is not read with `source: file`: the file has the answers")
        return self


class BestOfConfig(StepConfig):
    """The best of n answers by a reward: a baseline without training, and demonstrations for rejection sampling."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": True, "reward": False, "judge": False}
    SEVERAL: ClassVar[frozenset[str]] = frozenset({"reward"})
    WITH: ClassVar[dict[str, str]] = {"reward_weight": "reward", "combine": "reward"}
    UNREAD: ClassVar[frozenset[str]] = frozenset({"combine.stop_above"})
    kind: Literal["best_of"] = "best_of"
    rewards: list[RewardSource] = Field(default_factory=list)
    """Further reward terms beside the reward model under `from`."""
    reward_weight: float = 1.0
    """Factor of the reward models under `from`."""
    combine: Combine = Combine()
    """How an ensemble under `from` becomes one score."""
    data: str = LAB
    """Prompts: `lab`, or a file, folder or hub id."""
    prompts: Count = 400
    """Training prompts whose best answers are written as demonstrations."""
    held_out_prompts: Count = 200
    """Held-out prompts on which best-of-n is measured."""
    answers: int = Field(default=16, ge=2)
    """Answers sampled per prompt; best-of-n is estimated for every n up to it."""
    sampling: Sampling = Sampling(max_tokens=24)
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass."""

    @model_validator(mode="after")
    def _has_reward(self) -> Self:
        if "reward" not in self.inputs and not self.rewards:
            raise ValueError("a reward is needed: `from: {reward: STEP}` or `rewards: [...]`")
        return self


class AuditConfig(StepConfig):
    """What did each model really learn? One row a model, each figure beside the reference's."""

    INPUTS: ClassVar[dict[str, bool]] = {"*": True, "judge": False, "reward": False}
    WITH: ClassVar[dict[str, str]] = {"best_of": "reward"}
    kind: Literal["audit"] = "audit"
    reference: str = "sft"
    """Input name of the model the others are compared with."""
    data: str = LAB
    """Held-out prompts: `lab`, or a file, folder or hub id."""
    prompts: Count | None = None
    """At most this many prompts; default: all held-out ones."""
    answers: int = Field(default=2, ge=2)
    """Answers sampled per prompt."""
    rewards: list[RewardSource] = Field(default_factory=list)
    """The judge where `data` is no lab and no reward model stands for `judge`: rules, functions or models, summed."""
    best_of: int = Field(default=4, ge=2)
    """With `reward: STEP` under `from`: best-of-n of the reference stands in the table too, n answers for each one
    that the reward model picks."""
    sampling: Sampling = Sampling(max_tokens=24)
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass."""

    @property
    def models(self) -> list[str]:
        """Names of the inputs that are audited."""
        return [name for name in self.inputs if name not in ("judge", "reward")]

    @model_validator(mode="after")
    def _has_reference(self) -> AuditConfig:
        if self.reference not in self.models:
            raise ValueError(
                f"`reference: {self.reference}` is none of its inputs ({', '.join(self.models) or 'none'})"
            )
        return self

    @model_validator(mode="after")
    def _has_one_judge(self) -> AuditConfig:
        if self.rewards and (self.data == LAB or "judge" in self.inputs):
            judge = "the reward model under `judge`" if "judge" in self.inputs else "gold, with `data: lab`,"
            raise ValueError(f"`rewards` are not read: {judge} is the judge")
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
    "dpo": DpoConfig,
    "grpo": GrpoConfig,
    "rloo": RlooConfig,
    "online_dpo": OnlineDpoConfig,
    "best_of": BestOfConfig,
    "audit": AuditConfig,
    "compare": CompareConfig,
}

GIVES: dict[str, tuple[str, ...]] = {
    "judgments": ("collect",),
    "reward": ("reward",),
    "judge": ("reward",),
    "demonstrations": ("best_of",),
}
"""Input name -> kinds of step that can stand there."""
LANGUAGE_MODELS = ("pretrain", "sft", "ppo", "dpo", "grpo", "rloo", "online_dpo")
"""Kinds of step that can stand for every other input."""
