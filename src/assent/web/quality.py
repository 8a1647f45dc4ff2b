"""The page of quality: agreement, people beside models, the hardest items and rules, how many more judgments."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.feedback import guidelines
from assent.feedback.reads import standing
from assent.feedback.state import State
from assent.stats.agreement import Vote, raw_agreement
from assent.stats.bootstrap import Interval
from assent.stats.learning_curve import outlook
from assent.stats.monitors import choices_needed
from assent.web.accuracy import LENGTH, PEOPLE, Accuracy, accuracies
from assent.web.auth import Reviewer
from assent.web.curve import points
from assent.web.language import said
from assent.web.page import render
from assent.web.summaries import Agreement, Hard, agreement, cast_votes, hardest, prompts_of

router = APIRouter(prefix="/lead")
NAMED = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,4}\d{1,3}(?![A-Za-z0-9])")
"""What may be the id of a rule; it counts where a guideline has such a rule."""
SHARES = (0.60, 0.55)
"""Side preferences that the planning table is for."""
MOST_RULES = 20


@dataclass(frozen=True)
class VersionRow:
    """Agreement under one version of the guideline."""

    version: str
    name: str
    n: int
    raw: Interval | None


@dataclass(frozen=True)
class HardRule:
    """A rule that people named in notes and reasons: how often, on how many items, and how many of these are split."""

    rule: str
    n: int
    items: int
    judged_twice: int
    split: int


@dataclass(frozen=True)
class Precision:
    """How well alpha is known, and prompts with two votes for half the width: four times as many."""

    half: float
    prompts: int
    needed: int


@dataclass(frozen=True)
class Quality:
    """All figures of the page, computed at `at`, Unix seconds."""

    at: float
    agreement: Agreement
    accuracies: list[Accuracy]
    hardest: list[Hard]
    has_rules: bool
    rules: list[HardRule]
    versions: list[VersionRow]
    precision: Precision | None


def compute(state: State) -> Quality:
    """The page's figures. Agreement is between people, and on work: check items are asked of everybody."""
    cast = cast_votes(state.work, state.groups)
    found = agreement(cast)
    known = {rule for each in state.guidelines for rule in guidelines.rules(each.text)}
    return Quality(
        at=time.time(),
        agreement=found,
        accuracies=accuracies(state),
        hardest=hardest(cast, state.groups),
        has_rules=bool(known),
        rules=hard_rules([act for act in state.standing if act.rater in state.people], known, cast, state),
        versions=_versions(state),
        precision=_precision(found.alpha),
    )


def agreed(state: State) -> Agreement:
    """Agreement alone, for the first page."""
    return agreement(cast_votes(state.work, state.groups))


def _precision(alpha: Interval | None) -> Precision | None:
    return None if alpha is None else Precision((alpha.high - alpha.low) / 2, alpha.n, 4 * alpha.n)


def _versions(state: State) -> list[VersionRow]:
    names = {each.version: each.name for each in state.guidelines}
    by_version: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in standing(state.work):
        by_version[judgment.guideline or "none"].append(judgment)
    return [
        VersionRow(
            version,
            names.get(version, ""),
            len(made),
            raw_agreement(cast_votes(made, state.groups), seed=0, resamples=500),
        )
        for version, made in by_version.items()
    ]


def hard_rules(said: Iterable[Judgment], known: set[str], cast: Sequence[Vote], state: State) -> list[HardRule]:
    """Rules by the number of split items they were named on, most first."""
    votes_on = _values(cast, state.groups)
    named: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in said:
        for rule in known & set(NAMED.findall(" ".join((judgment.note, *judgment.reasons)))):
            named[rule].append(judgment)
    found = []
    for rule, judgments in named.items():
        prompts = {state.groups[judgment.group].prompt.id for judgment in judgments}
        twice = {prompt for prompt in prompts if any(len(v) > 1 for v in votes_on.get(prompt, {}).values())}
        split = {prompt for prompt in twice if any(len(set(v)) > 1 for v in votes_on[prompt].values())}
        found.append(HardRule(rule, len(judgments), len(prompts), len(twice), len(split)))
    return sorted(found, key=lambda row: (-row.split, -row.n, row.rule))[:MOST_RULES]


def _values(cast: Sequence[Vote], groups: Mapping[str, Group]) -> Mapping[str, Mapping[str, list[str]]]:
    """Prompt -> pair -> what its votes say."""
    prompts = prompts_of(groups)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for vote in cast:
        found[prompts[vote.item].id][vote.item].append(vote.value)
    return found


@router.get("/quality")
def quality(request: Request, person: Reviewer, measured: str = "") -> Response:
    """Figures that change with the judgments, and with `measured` a learning curve through points of the lead's own."""
    fitted, problem = None, ""
    if measured.strip():
        try:
            fitted = outlook(points(measured[:2000]))
        except DataError as error:
            problem = said(error.what) + (f": {said(error.fix)}" if error.fix else "")
    figures = request.app.state.figures.of(compute)
    return render(
        request,
        "lead_quality.html.j2",
        400 if problem else 200,
        figures=figures,
        models=any(row.kind not in (PEOPLE, LENGTH) for row in figures.accuracies),
        plan=[(share, choices_needed(share)) for share in SHARES],
        measured=measured[:2000],
        curve=fitted,
        problem=problem,
        endless=math.inf,
    )
