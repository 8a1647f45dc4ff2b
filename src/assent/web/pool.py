"""The page of the rater pool: whose tastes weigh how much, in groups of five people and more.

Each person's number of judgments stands on the page of people. Exact sums of a group, beside them, would tell who is
in it: so counts are rounded to two digits and shares to whole percent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from assent.core.records import Rater
from assent.feedback.attributes import CHOICES
from assent.feedback.state import State
from assent.stats.agreement import TIE, votes
from assent.stats.slices import K, Slice, slices
from assent.web.accuracy import longer_of
from assent.web.auth import Lead
from assent.web.page import render

router = APIRouter(prefix="/lead")


@dataclass(frozen=True)
class Pool:
    """Slices by one attribute, largest first; none where fewer than two have five people. At `at`, Unix seconds."""

    at: float
    slices: list[Slice]


def compute(state: State, attribute: str) -> Pool:
    """Slices by `attribute` of the people who judged; check items are left out, there is nothing to taste."""
    cast = votes(state.work, state.groups)
    raters = [Rater(id=rater, kind="human", attributes=state.told.get(rater, {})) for rater in sorted(state.people)]
    longer = {item: value for item, value in longer_of(state.groups).items() if value != TIE}
    return Pool(time.time(), slices(cast, raters, attribute, trait=longer) if cast else [])


# The cache of figures knows a figure by its function: one for each attribute.
BY: dict[str, Callable[[State], Pool]] = {name: partial(compute, attribute=name) for name in CHOICES}


def rounded(count: int) -> int:
    """A count to two digits, so that it fits several groups of people."""
    step = 10 ** max(0, math.floor(math.log10(count)) - 1) if count else 1
    return round(count / step) * step


@router.get("/pool")
def pool(request: Request, person: Lead, by: str = "age") -> Response:
    """Slices by one attribute that people chose to tell."""
    if by not in BY:
        raise HTTPException(404)
    return render(
        request,
        "lead_pool.html.j2",
        attributes=list(CHOICES),
        by=by,
        k=K,
        pool=request.app.state.figures.of(BY[by]),
        rounded=rounded,
    )
