"""What every measurement shares: options, the row's folder, starting sides, agreement, medians and ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import environments, workload
from benchmarks.flops import Mix, shape_of, useful
from benchmarks.rows import Peer, Row, Variants
from benchmarks.side import ROOT, Ask, BenchError, Refused, start
from benchmarks.workload import Task, Work

TOLERANCE, TOLERANCE_BF16 = 1e-4, 5e-3
"""Largest relative difference of the two sides' losses, in fp32 and where both round to bf16 (8 bits)."""


@dataclass(frozen=True)
class Options:
    """How to run, from the command line."""

    rounds: int = 5
    threads: int = 2
    reduced: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Session:
    """A row, the peer it is measured against, and where its files are."""

    name: str
    row: Row
    peer: Peer
    options: Options

    @property
    def work(self) -> Work:
        """Sizes: a quarter of the groups and a small vocabulary if reduced, a 0.5B model on a GPU."""
        work = self.row.work
        if self.options.device == "cuda":
            work = replace(work, architecture="qwen2.5-0.5b", vocabulary=151936)
        if self.options.reduced:
            work = replace(work, groups=max(2, work.groups // 4), vocabulary=min(1024, work.vocabulary))
        return work

    @property
    def tolerance(self) -> float:
        """How far the first losses may be apart."""
        return TOLERANCE_BF16 if self.options.device == "cuda" else TOLERANCE

    @property
    def gradients(self) -> float | None:
        """How far the gradient norms may be apart; None: any distance, which is told."""
        return None if self.options.device == "cuda" else self.row.gradients

    @property
    def rounds(self) -> int:
        """Paired rounds."""
        return 1 if self.options.reduced else self.options.rounds

    def build(self) -> Path:
        """Write the row's data and models; their folder."""
        folder = ROOT / "runs" / "bench" / self.name
        workload.build(folder, self.work, self.row.models)
        return folder

    def task(self, variant: dict[str, Any]) -> Task:
        """What a worker is told."""
        on_gpu = self.options.device == "cuda"
        return Task(
            row=self.name,
            folder=str(self.build()),
            work=vars(self.work),
            threads=self.options.threads,
            device=self.options.device,
            dtype="bfloat16" if on_gpu else "float32",
            settings=dict(self.row.settings),
            variant=variant,
        )

    def ours(self, variant: dict[str, Any] | None = None) -> Ask:
        """Start our side."""
        return start("ours", environments.python_of(None), self.row.ours, self.task(variant or {}))

    def theirs(self, variant: dict[str, Any] | None = None) -> Ask:
        """Start the peer's side."""
        if self.peer.module is None:
            raise BenchError(f"`{self.name}` has no second side")
        return start("peer", environments.python_of(self.peer.env), self.peer.module, self.task(variant or {}))

    def variants(self, ours: bool) -> Variants:
        """Ways to do the work on one side; the first alone if reduced."""
        found = self.row.variants if ours else self.peer.variants
        return dict([next(iter(found.items()))]) if self.options.reduced else found

    def tokens(self) -> int:
        """Tokens that tokens/s counts, the same number for both sides."""
        groups = workload.draw(self.work)
        answers = sum(len(answer) for group in groups for answer in group.answers)
        return answers if self.row.sampled else answers + sum(len(group.prompt) for group in groups)

    def mix(self) -> Mix:
        """Useful FLOPs of a step."""
        shape = shape_of(self.build() / self.row.models[0])
        return useful(shape, workload.draw(self.work), self.row.passes)


def difference(left: float, right: float) -> float:
    """Relative difference of two numbers; 0 for two zeros."""
    size = max(abs(left), abs(right))
    return abs(left - right) / size if size else 0.0


def check_agreement(
    ours: dict[str, float], theirs: dict[str, float], most: float = TOLERANCE, gradients: float | None = None
) -> dict[str, Any]:
    """Both sides' first losses; Refused where they differ by more than `most`, relatively.

    The same for the gradient norms and `gradients`, where a row sets a bound.
    """
    apart = difference(ours["loss"], theirs["loss"])
    if not apart <= most:  # also where one is NaN
        raise Refused(
            f"the losses differ by {apart:.1e} (relative; at most {most:.0e}): ours {ours['loss']:.8g}, "
            f"theirs {theirs['loss']:.8g}; the two sides do different work, so no time is taken"
        )
    found: dict[str, Any] = {"ours": ours, "theirs": theirs, "relative_difference": apart}
    if "grad_norm" in ours and "grad_norm" in theirs:
        found["grad_norm_difference"] = difference(ours["grad_norm"], theirs["grad_norm"])
        if gradients is not None and not found["grad_norm_difference"] <= gradients:
            raise Refused(
                f"the gradient norms differ by {found['grad_norm_difference']:.1e} (relative; at most "
                f"{gradients:.0e}): ours {ours['grad_norm']:.8g}, theirs {theirs['grad_norm']:.8g}; no time is taken"
            )
    return found


def order(round_: int) -> tuple[str, str]:
    """Who goes first in a round: A B, B A, A B, ..."""
    return ("ours", "theirs") if round_ % 2 == 0 else ("theirs", "ours")


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of theirs / ours, round by round."""
    paired = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"value": statistics.median(paired), "low": min(paired), "high": max(paired)}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log size by least squares: 1 is linear."""
    slope, _ = statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in seconds])
    return slope
