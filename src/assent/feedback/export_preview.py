"""What each filter of an export lets pass, and the rows that come out, before anything is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from assent.core.records import preference_pairs
from assent.feedback.export import plan
from assent.feedback.export_datasheet import counted
from assent.feedback.export_filters import Filters, select
from assent.feedback.export_options import Options
from assent.formats.feedback import Feedback, current

ORDER = ("guidelines", "raters", "kinds", "outcomes", "agreement", "checks")
"""Filters as they follow each other; a judgment is counted as left out by the first that does not take it."""


class Step(NamedTuple):
    """What is left behind a filter: judgments that stand, groups they are on, pairs they order, who made them."""

    name: str
    judgments: int
    groups: int
    pairs: int
    raters: int


@dataclass(frozen=True)
class Preview:
    """`steps`: all there is, then each filter that is set, then the sides of a split. `files`: name -> rows."""

    steps: list[Step]
    files: dict[str, int]
    left_out: dict[str, int]


def preview(feedback: Feedback, options: Options) -> Preview:
    """The figures of an export with these options. Raises what `export` raises for options that cannot be used."""
    made = plan(feedback, options)
    steps, so_far = [_step("all", feedback)], Filters()
    for name in ORDER:
        wanted = getattr(options.filters, name)
        if wanted != getattr(so_far, name):
            so_far = replace(so_far, **{name: wanted})
            steps.append(_step(name, select(feedback, so_far, Counter())))
    assert so_far == options.filters
    if options.split.any():
        steps += [_step("train", made.sides.train), _step("test", made.sides.test)]
    rows = {name: len(found) for name, found in made.files.items()}
    return Preview(steps, rows, counted(made.left_out))


def _step(name: str, feedback: Feedback) -> Step:
    now, groups = current(feedback.judgments), feedback.by_id()
    pairs = sum(len(preference_pairs(j, groups[j.group])) for j in now if j.outcome == "ranked")
    return Step(name, len(now), len({j.group for j in now}), pairs, len({j.rater for j in now}))
