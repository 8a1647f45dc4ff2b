"""Where a reward comes from: models, functions, rules; and how several become one."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from assent.config.blocks import Block, Count, NonNegative, Positive


class JsonRule(Block):
    """1 where the answer is one JSON value, else 0."""

    keys: tuple[str, ...] = ()
    """It must be an object with these keys, and may have more; none named: any JSON value."""


class RegexRule(Block):
    """1 where the pattern is found in the answer, else 0."""

    pattern: str
    """A regular expression in Python's syntax."""
    whole: bool = False
    """Whether the whole answer must match."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern


class ExactRule(Block):
    """1 where the answer's result equals the prompt's own, else 0; numbers are compared as numbers."""

    tag: str = "answer"
    """The prompt's tag that holds the true result; a prompt without it has no score."""
    pattern: str = r"((?:(?<![\w)])-)?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?)"
    """Regular expression; the first group of its last match is the answer's result. The default is a number."""

    @field_validator("pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        if not groups:
            raise ValueError("its first group is the result: put brackets around it")
        return pattern


class LengthRule(Block):
    """0 up to `tolerance` tokens from the target, then less by 1 for each further `target` tokens."""

    target: Count
    """Tokens wanted, end-of-sequence included; words, of an answer that was not sampled."""
    tolerance: int = Field(default=0, ge=0)
    """Tokens to either side that cost nothing."""


class RepetitionRule(Block):
    """Minus the share of the answer's word n-grams that stood in it before."""

    words: Count = 3
    """Words in an n-gram."""


RULES = ("json_value", "regex", "exact", "length", "repetition")


class RewardSource(Block):
    """One term of the reward: a reward model, a Python function or a rule, times a weight."""

    model: str | None = None
    """Folder or hub id of a sequence classifier with one label (a step's goes under `from`)."""
    function: str | None = None
    """Dotted path `package.module:name` or `package.module.name` of a function with TRL's signature."""
    json_value: JsonRule | None = None
    """The answer is JSON."""
    regex: RegexRule | None = None
    """The answer matches a pattern."""
    exact: ExactRule | None = None
    """The answer's result is the true one: for tasks that can be checked."""
    length: LengthRule | None = None
    """The answer is about so long."""
    repetition: RepetitionRule | None = None
    """The answer does not repeat itself."""
    weight: float = 1.0
    """Factor of this term in the sum."""
    timeout: Positive = 60.0
    """Seconds one call of the function may take."""

    @model_validator(mode="after")
    def _one_of(self) -> RewardSource:
        kinds = ("model", "function", *RULES)
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f", not {' and '.join(given)}" if given else ""
            raise ValueError(f"give exactly one of {', '.join(kinds)}{found}")
        if "timeout" in self.model_fields_set and self.function is None:
            raise ValueError("`timeout` is not read here; it goes with `function`")
        return self


class Combine(Block):
    """How the members of an ensemble of reward models become one score."""

    NEEDS: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {"k": ("how", ("lower",))}
    how: Literal["mean", "min", "lower"] = "mean"
    """Their mean, their least, or the mean less `k` standard deviations."""
    k: NonNegative = 1.0
    """Standard deviations taken off with `how: lower`."""
    stop_above: Positive | None = None
    """Training ends once the members' mean disagreement (a standard deviation) exceeds this; null: never."""
