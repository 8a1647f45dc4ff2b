"""Everything a report shows, as plain records: steps fill it, `html`, `card` and `console` draw it.

`ReportData.model_dump_json()` is the same report for machines. A number that could not be computed is
None and is shown as a dash, never as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from assent.stats.bootstrap import Interval
from assent.stats.calibration import Bin

Unit = Literal["number", "score", "percent", "count"]
"""How a value is written: `percent` values are fractions, 0..1; `count` has one decimal, `score` two."""
Status = Literal["good", "bad", "unclear", "info"]


class Shown(BaseModel):
    """Base of the report's records: immutable and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(Shown):
    """A value with its 95 % interval, where there is one, and the number of units behind it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @classmethod
    def of(cls, interval: Interval | None) -> Number:
        """From a bootstrap interval; None (not enough data) gives an empty number."""
        if interval is None:
            return cls()
        return cls(value=interval.estimate, low=interval.low, high=interval.high, n=interval.n)


class Metric(Shown):
    """A row of the model table: what is measured, how it is written, which way is better."""

    key: str
    label: str
    help: str = ""
    unit: Unit = "number"
    better: Literal["high", "low"] | None = None


class ModelTable(Shown):
    """Models against metrics. `models` maps name -> metric key -> number; a key may be missing."""

    metrics: tuple[Metric, ...]
    models: dict[str, dict[str, Number]]

    def number(self, model: str, metric: Metric) -> Number:
        """The number of a model, empty where it was not measured."""
        return self.models[model].get(metric.key, Number())

    def shared_n(self, metric: Metric) -> int | None:
        """The number of units behind a metric, where it is the same for every model that has one."""
        counts = {self.number(model, metric).n for model in self.models} - {None}
        return counts.pop() if len(counts) == 1 else None


class Verdict(Shown):
    """One sentence a lead can act on, and the number behind it."""

    status: Status
    text: str
    evidence: str = ""


class PipelineNode(Shown):
    """A step of the run. `parents` are names of other nodes."""

    name: str
    kind: str
    seconds: float | None = None
    headline: str = ""
    parents: tuple[str, ...] = ()


class Series(Shown):
    """A curve; None or non-finite ys are gaps."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float | None, ...]

    @model_validator(mode="after")
    def _fits(self) -> Series:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"series {self.name!r} has {len(self.xs)} xs but {len(self.ys)} ys")
        return self


class Panel(Shown):
    """One small plot: a metric over steps, one line a series."""

    title: str
    series: tuple[Series, ...]
    help: str = ""
    unit: Unit = "number"


class ShownAnswer(Shown):
    """What one model said. `gold` is its worth by `judge`; `cut` marks an answer that ran into the length limit."""

    model: str
    text: str
    gold: float | None = None
    judge: str = "gold"
    cut: bool = False


class Example(Shown):
    """One prompt answered by several models, side by side."""

    prompt: str
    kind: str = ""
    answers: tuple[ShownAnswer, ...]


class RewardModelBlock(Shown):
    """How good the reward model is on held-out pairs, next to the floor that sees only looks."""

    accuracy: Number
    floor: Number
    difference: Number
    pairs: int | None = None
    bins: tuple[Bin, ...] = ()
    ece: float | None = None
    perfect_ece: float | None = None
    brier: float | None = None
    temperature: float | None = None
    floor_weights: dict[str, float] = {}


class LineageNode(Shown):
    """An artifact (or judgments, raters, a guideline) and what it was made from."""

    name: str
    kind: str
    hash: str = ""
    facts: dict[str, str] = {}
    parents: tuple[LineageNode, ...] = ()


def without_repeats(
    nodes: Sequence[LineageNode],
    seen: set[tuple[str, str, str]] | None = None,
) -> tuple[LineageNode, ...]:
    """The same trees, each artifact told in full where it first stands and by name alone after that."""
    seen = set() if seen is None else seen
    told = []
    for node in nodes:
        key = (node.kind, node.name, node.hash)
        if key in seen:
            facts = {"see": "above"} if node.parents or node.facts else {}
            told.append(node.model_copy(update={"facts": facts, "parents": ()}))
        else:
            seen.add(key)
            told.append(node.model_copy(update={"parents": without_repeats(node.parents, seen)}))
    return tuple(told)


class ReportData(Shown):
    """The whole report. Empty parts are left out of the page."""

    format: Literal[1] = 1
    title: str
    subtitle: str = ""
    facts: dict[str, str] = {}
    verdicts: tuple[Verdict, ...] = ()
    table: ModelTable | None = None
    pipeline: tuple[PipelineNode, ...] = ()
    curves: tuple[Panel, ...] = ()
    examples: tuple[Example, ...] = ()
    reward_model: RewardModelBlock | None = None
    lineage: tuple[LineageNode, ...] = ()
    notes: tuple[str, ...] = ()
