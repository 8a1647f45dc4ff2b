"""Methods that learn from judgments: how judgments become pairs, the losses on pairs, ensembles."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from assent.config.blocks import Adapter, Block, Count, Limits, NonNegative, Optimiser, Positive, Sampling, StepConfig


class Labels(Block):
    """How judgments become pairs with labels and weights."""

    soft: bool = False
    """Whether the probabilities that a judgment gives its answers (`probs`) are learned, instead of its order."""
    ties: Literal["drop", "half"] = "drop"
    """Answers in one tier make no pair, or a pair whose label is one half."""
    weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Weight of a rater's judgments, by the rater's id, or by kind (`kind:model`); 1 where none is named."""


class Ensemble(Block):
    """Several reward models instead of one: where they disagree, the proxy is not to be trusted."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "attribute": ("differ", ("attribute",)),
        "members": ("differ", ("seed", "bootstrap", "raters")),
    }
    differ: Literal["seed", "bootstrap", "raters", "attribute", "guideline"] = "bootstrap"
    """What sets members apart: only head and order; judgments drawn with replacement by subject; a share of the
    raters each; the raters of one value of `attribute` each; the judgments under one guideline each. Several
    policies under `from` are taken in turn as trunks, so that members share no body."""
    members: Annotated[int, Field(ge=2)] = 3
    """Members; with `attribute` and `guideline` there is one for each value found."""
    attribute: str | None = None
    """Name of the raters' attribute."""

    @model_validator(mode="after")
    def _names_its_attribute(self) -> Self:
        if self.differ == "attribute" and self.attribute is None:
            raise ValueError("`differ: attribute` needs `attribute: NAME`")
        return self


class RewardConfig(StepConfig):
    """A reward model that predicts rankings: Bradley-Terry on all pairs of a ranking at once."""

    INPUTS: ClassVar[dict[str, bool]] = {"policy": False, "judgments": True}
    SEVERAL: ClassVar[frozenset[str]] = frozenset({"policy"})
    WITH: ClassVar[dict[str, str]] = {"normalise_prompts": "policy", "sampling": "policy"}
    kind: Literal["reward"] = "reward"
    model: str | None = None
    """Hugging Face folder or hub id whose trunk the reward model starts from; default: the policy's."""
    template: str | None = None
    """Chat template, where the model has none."""
    epochs: Count = 1
    """Passes over the rankings."""
    batch: Count = 32
    """Groups in an optimiser step."""
    centre: NonNegative = 0.0
    """Weight of (r_w + r_l)^2, which keeps scores near zero."""
    normalise_prompts: int = Field(default=256, ge=0)
    """Prompts whose answers from `policy` set mean 0 and deviation 1; 0 leaves the scores as trained."""
    labels: Labels = Labels()
    ensemble: Ensemble | None = None
    """Train several members; null: one model."""
    adapter: Adapter | None = None
    """LoRA instead of training every weight; merged into the model that is written."""
    sampling: Sampling = Sampling(max_tokens=24)
    optimiser: Optimiser = Optimiser(lr=1e-3)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _one_trunk_a_model(self) -> Self:
        policies = self.inputs.get("policy")
        if not isinstance(policies, list):
            return self
        if self.ensemble is None:
            raise ValueError("several policies are the trunks of an ensemble: write `ensemble: {}`")
        if self.model is not None:
            raise ValueError("`model` is one trunk for all members: give one policy under `from`, or leave `model` out")
        if self.ensemble.differ not in ("attribute", "guideline") and len(policies) > self.ensemble.members:
            raise ValueError(f"{len(policies)} policies are trunks, but there are {self.ensemble.members} members")
        return self

    @model_validator(mode="after")
    def _members_share_a_scale(self) -> Self:
        if self.ensemble is not None and not (self.normalise_prompts and "policy" in self.inputs):
            raise ValueError(
                "the scores of an ensemble's members are comparable on one scale only: it needs `from: {policy: STEP}` "
                "and `normalise_prompts` above 0"
            )
        return self

    @model_validator(mode="after")
    def _policy_is_asked(self) -> Self:
        """What is only for the scores' scale is not read where they are left as trained."""
        if self.normalise_prompts:
            return self
        if "sampling" in self.model_fields_set:
            raise ValueError("`sampling` is not read with `normalise_prompts: 0`: no answer is sampled")
        if self.model is not None and "policy" in self.inputs:
            raise ValueError(
                "`from: {policy: STEP}` is not read with `model` and `normalise_prompts: 0`: leave one out"
            )
        return self


class PreferenceLoss(Block):
    """What a loss on pairs of answers may be told."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "label_smoothing": ("loss", ("cdpo", "robust")),
        "gamma": ("loss", ("simpo",)),
        "desirable_weight": ("loss", ("kto",)),
        "undesirable_weight": ("loss", ("kto",)),
    }
    loss: Literal["dpo", "cdpo", "robust", "ipo", "hinge", "simpo", "kto"] = "dpo"
    """Which member of the family: docs/algorithms/dpo.md has each one's formula and fixed point."""
    beta: Positive = 0.1
    """How closely the policy is held to where it starts: implicit reward per nat of log-ratio (of `simpo`, per nat
    a token: its authors take 2; of `ipo`, tau)."""
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of labels taken to be wrong: cDPO and robust DPO."""
    gamma: NonNegative = 1.0
    """SimPO: lead that the better answer should have."""
    desirable_weight: Positive = 1.0
    """KTO: weight of answers that were preferred."""
    undesirable_weight: Positive = 1.0
    """KTO: weight of answers that were not."""
    pairs: Literal["all", "ends"] = "all"
    """All pairs of a ranking, sharing the weight of one, or only the best against the worst."""


class DpoConfig(StepConfig, PreferenceLoss):
    """Direct preference optimisation and its family: learn from rankings, without a reward model."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = PreferenceLoss.NEEDS
    INPUTS: ClassVar[dict[str, bool]] = {"policy": False, "judgments": True}
    kind: Literal["dpo"] = "dpo"
    model: str | None = None
    """Hugging Face folder or hub id to start from, where no step is."""
    template: str | None = None
    """Chat template, where the model has none."""
    epochs: Count = 1
    """Passes over the rankings."""
    batch: Count = 32
    """Groups in an optimiser step."""
    labels: Labels = Labels()
    adapter: Adapter | None = None
    """LoRA instead of training every weight; merged into the model that is written."""
    sampling: Sampling = Sampling(max_tokens=24)
    """How the answers in samples.jsonl are drawn: the same prompts at every logged step."""
    optimiser: Optimiser = Optimiser(lr=3e-4)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if ("policy" in self.inputs) == (self.model is not None):
            raise ValueError("give exactly one start: `policy: STEP` under `from`, or `model: FOLDER_OR_HUB_ID`")
        return self

    @model_validator(mode="after")
    def _pairs_have_sides(self) -> Self:
        if self.loss == "kto" and (self.labels.soft or self.labels.ties == "half"):
            given = "soft labels go" if self.labels.soft else "`ties: half` goes"
            raise ValueError(f"`loss: kto` takes answers as good or bad: {given} with the other losses")
        return self
