"""The lead's first page."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from assent.core.records import Judgment
from assent.feedback import withdrawn
from assent.feedback.forecast import LEAST_DAYS, LEAST_JUDGMENTS, forecast
from assent.feedback.state import State
from assent.feedback.stuck import FLAGS, LEASES, SKIPS, stuck
from assent.web import quality, words
from assent.web.auth import Reviewer
from assent.web.page import render
from assent.web.summaries import Agreement, Row, describe

router = APIRouter(prefix="/lead")
TOLD = 30
"""Messages to the lead on the page."""
STUCK = 20
"""Stuck items on the page."""


@dataclass(frozen=True)
class Now:
    """What the first page shows of the judgments, computed at `at`, Unix seconds."""

    at: float
    agreement: Agreement
    told: list[Row]


def _for_the_lead(judgment: Judgment) -> bool:
    return bool(judgment.note or words.FLAGGED in judgment.reasons or judgment.outcome == "skip")


def compute(state: State) -> Now:
    """Agreement, and the latest of what people said to the lead."""
    told = [act for act in reversed(state.standing) if act.rater in state.people and _for_the_lead(act)]
    return Now(time.time(), quality.agreed(state), [describe(each, state.groups) for each in told[:TOLD]])


@router.get("")
def now(request: Request, person: Reviewer) -> Response:
    """Where the project stands, when it will be done, what does not get done, and what people said to the lead."""
    store = request.app.state.store
    return render(
        request,
        "lead_now.html.j2",
        progress=store.progress(),
        guideline=store.guideline(),
        forecast=forecast(store, time.time()),
        least_judgments=LEAST_JUDGMENTS,
        least_days=LEAST_DAYS,
        stuck=stuck(store, words.FLAGGED),
        limits=(SKIPS, FLAGS, LEASES),
        most=STUCK,
        withdrawn=len(withdrawn.listed(store)),
        figures=request.app.state.figures.of(compute),
    )
