"""Points of a learning curve as the lead types them in, or pastes them from `assent feedback curve`.

The service trains nothing: the accuracies come from reward models trained on four or more sizes of the same data.
"""

from __future__ import annotations

import math

from assent.core.errors import DataError
from assent.stats.learning_curve import POINTS

MOST_POINTS = 20


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
