"""Blocks of settings that several kinds of step share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Block(BaseModel):
    """Base of everything a recipe may hold: closed and immutable, every field documented."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

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

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`epochs: yes` would otherwise be read as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"must not be yes or no (got {value!r})")
        return value


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
    beta2: Share = 0.999
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


class Limits(Block):
    """How much goes through the model at once, and what happens to rows that do not fit."""

    max_length: Count | None = None
    """Longest row in tokens, prompt and answer; default: what the model can hold."""
    too_long: Literal["error", "drop"] = "error"
    """What to do with a longer row: stop, or leave it out and count it."""
    token_budget: Count = 4096
    """Most tokens, padding included, in one forward pass; bounds the memory, changes no result (on CPUs
    small pieces are also faster: they stay in the cache)."""
    checkpoint_every: Count = 50
    """Steps between checkpoints."""
    log_every: Count = 10
    """Steps between lines in metrics.jsonl."""
