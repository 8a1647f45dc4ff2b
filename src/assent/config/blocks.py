"""What every step has, and blocks of settings that several kinds of step share."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

LAB = "lab"
"""Name of the embedded world, wherever a recipe names data."""
LAB_SUMS = "lab:sums"
"""Name of the lab's sums, wherever a recipe names texts, demonstrations or prompts: a task that can be checked."""


class Block(BaseModel):
    """Base of everything a recipe may hold: closed and immutable, every field documented."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {}
    """Option -> (the option it depends on, the values of that one under which it is read). Given elsewhere it is
    refused: an option without effect would let its user believe in one."""

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults(cls, data: Any) -> Any:
        """A block that is given in part keeps the step's own defaults for the rest, not the block's."""
        if not isinstance(data, dict):
            return data
        merged = dict(data)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Block) and isinstance(data.get(name), dict):
                merged[name] = {**field.default.model_dump(exclude_unset=True), **data[name]}
        return merged

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        for name, (other, values) in self.NEEDS.items():
            if name in self.model_fields_set and getattr(self, other) not in values:
                wanted = " or ".join(f"`{other}: {_yaml(value)}`" for value in values)
                given = _yaml(getattr(self, other))
                raise ValueError(f"`{name}` is not read with `{other}: {given}`; it goes with {wanted}")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`epochs: yes` would otherwise be read as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"must not be yes or no (got {value!r})")
        return value


def _yaml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


class StepConfig(Block):
    """What every step has. `from` names the steps whose artifacts are read."""

    INPUTS: ClassVar[dict[str, bool]] = {}
    """Input name -> whether it is required. `*` stands for any name."""
    SEVERAL: ClassVar[frozenset[str]] = frozenset()
    """Inputs that take a list of steps."""
    WITH: ClassVar[dict[str, str]] = {}
    """Option -> the input without which it is not read."""
    INSTEAD: ClassVar[dict[str, str]] = {}
    """Option -> the input that stands in its place."""
    UNREAD: ClassVar[frozenset[str]] = frozenset()
    """Settings of shared blocks, as `block.setting`, that this kind has no use for."""

    kind: str
    """Kind of step; the step's name where left out."""
    inputs: dict[str, str | list[str]] = Field(default_factory=dict, alias="from")
    """Input name -> name of the step whose artifact is read (a list where several are taken)."""
    seed: int | None = None
    """Seed of this step; default: the recipe's."""

    @model_validator(mode="after")
    def _inputs_read_it(self) -> Self:
        """As `_nothing_is_ignored`, for what depends on the inputs or on the kind."""
        for name, needed in self.WITH.items():
            if name in self.model_fields_set and needed not in self.inputs:
                raise ValueError(f"`{name}` is not read without `from: {{{needed}: STEP}}`")
        for name, instead in self.INSTEAD.items():
            if name in self.model_fields_set and instead in self.inputs:
                raise ValueError(f"`{name}` is not read with `from: {{{instead}: STEP}}`, which stands in its place")
        for path in self.UNREAD:
            block, name = path.split(".")
            if name in getattr(self, block).model_fields_set:
                raise ValueError(f"`{path}` is not read by a `{self.kind}` step; leave it out")
        return self


class Optimiser(Block):
    """AdamW and its schedule."""

    lr: Positive = 1e-4
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Shape after warm-up: constant, or linear or cosine down to a tenth of a percent of `lr`."""
    warmup: Share = 0.05
    """Share of the steps in which the rate rises linearly to `lr`."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay, on matrices only."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of Adam's second moment."""
    eps: Positive = 1e-8
    """Adam's epsilon; 1e-5 is the convention for reinforcement learning."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm, for each trained module by itself."""


class Sampling(Block):
    """How answers are drawn. Only the temperature may shape the distribution: top-k and top-p would
    bias every log-probability (docs/algorithms/ppo.md, detail 2)."""

    temperature: Positive = 1.0
    """Logits are divided by it, in sampling and in every scoring pass."""
    max_tokens: Count = 128
    """An answer is cut here; one that was cut counts as truncated."""
    stop: tuple[str, ...] = ()
    """An answer also ends where one of these strings appears; its text is cut before it, its token ids are kept
    as sampled."""

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_strings(cls, stop: Any) -> Any:
        """Every text holds the empty string."""
        if isinstance(stop, str):
            raise ValueError(f"must be a list: write [{json.dumps(stop)}]")
        if isinstance(stop, (list, tuple)) and "" in stop:
            raise ValueError("a stop string must not be empty: every answer would end at once; leave it out")
        return stop


class Limits(Block):
    """How much goes through the model at once, and what happens to rows that do not fit."""

    max_length: Count | None = None
    """Longest row in tokens, prompt and answer; default: what the model can hold."""
    too_long: Literal["error", "drop"] = "error"
    """What to do with a longer row: stop, or leave it out and count it."""
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass; bounds the memory, changes no result (on CPUs
    small pieces are also faster: they stay in the cache)."""
    activation_checkpointing: bool = False
    """Whether backward computes a layer's activations again instead of keeping them: less memory, about a third more
    time, the same result."""
    checkpoint_every: Count = 50
    """Steps between checkpoints."""
    log_every: Count = 10
    """Steps between lines in metrics.jsonl."""


class Adapter(Block):
    """LoRA (Hu et al. 2021, arXiv 2106.09685): train a low-rank change of each linear layer, and nothing else."""

    rank: Count = 16
    """Rank of the change."""
    alpha: Positive = 32.0
    """The change counts alpha / rank times."""
    targets: tuple[str, ...] = ()
    """Names of the layers that are changed, by their last part (`q_proj`); none named: every linear layer but the
    head."""
