"""How many more judgments? A learning curve through accuracies that reward models reached, typed in by the lead.

The service trains nothing: the accuracies come from `assent train`, on four or more sizes of the same data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from assent.core.errors import DataError
from assent.stats.learning_curve import FURTHEST, POINTS, Span, binomial_errors, fit

MOST_POINTS = 20


@dataclass(frozen=True)
class Reach:
    """A target accuracy, and how many judgments beyond the largest size measured it takes."""

    target: float
    more: Span


@dataclass(frozen=True)
class Curve:
    """What the fitted curve says: accuracy at twice the largest size, and how far targets are."""

    largest: float
    doubled: Span
    reach: tuple[Reach, ...]


def points(text: str) -> list[tuple[float, float, int]]:
    """(judgments, accuracy, held-out pairs) of each line. Raises DataError with the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            size, accuracy, pairs = line.replace(",", " ").replace(";", " ").split()
            found.append(
                (_number(size), _number(accuracy.removesuffix("%")) / (100 if "%" in accuracy else 1), int(pairs))
            )
        except ValueError:
            raise DataError(f"line {number} is not three numbers", fix="write like: 500 0.64 300") from None
        if not (found[-1][0] > 0 and 0 <= found[-1][1] <= 1 and found[-1][2] > 0):
            raise DataError(f"line {number}: judgments and pairs are above 0, an accuracy is from 0 to 1")
    if not POINTS <= len(found) <= MOST_POINTS:
        raise DataError(f"{len(found)} lines; a learning curve takes {POINTS} to {MOST_POINTS}")
    return found


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def curve(measured: list[tuple[float, float, int]]) -> Curve:
    """The curve through measured points, asked at the next whole steps of 2 percent above the best of them."""
    sizes, accuracies, pairs = zip(*measured, strict=True)
    fitted = fit(sizes, accuracies, binomial_errors(accuracies, pairs), seed=0)
    begin = math.floor(max(accuracies) * 50 + 1e-9)
    targets = [step / 50 for step in range(begin + 1, begin + 5) if step < 50]
    reach = tuple(Reach(target, fitted.more(target)) for target in targets)
    return Curve(max(sizes), fitted.accuracy(min(2.0, FURTHEST) * max(sizes)), reach)
