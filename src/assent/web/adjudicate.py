"""Adjudication: items people oppose each other on, who said what, and the reviewer's last word by keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from assent.core.records import Group, Judgment
from assent.feedback import adjudication
from assent.feedback.acts import SETTLED
from assent.feedback.errors import BadVerdict
from assent.feedback.queue import LONGEST_ID
from assent.feedback.records import Key
from assent.web import words
from assent.web.auth import Reviewer
from assent.web.language import gettext as _
from assent.web.language import noted
from assent.web.page import render
from assent.web.rating import Body, Said, verdict_of

router = APIRouter()
LETTERS = "ABCDEFGHI"
SHOWN = 100
"""Cases on the page."""
OPPOSITION = (
    noted("no opposite choices"),
    noted("slightly against slightly"),
    noted("clearly against clearly"),
    noted("much against much"),
)


class Settle(Body):
    """The last word on a group, in places of the group's own order; the same `key` again is the same word."""

    key: Key
    group: Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
    verdict: Said


@dataclass(frozen=True)
class Voice:
    """What one rater said, as the page shows it: without his name."""

    rater: str
    kind: str
    said: str
    reasons: str
    note: str
    guideline: str


def voice(act: Judgment, group: Group, kinds: Mapping[str, str]) -> Voice:
    """A judgment in the group's own letters."""
    rater = act.rater.removeprefix("human-")
    return Voice(
        rater=rater[:6] if rater != act.rater else rater,
        kind=kinds.get(act.rater, "unknown"),
        said=_said(act, group),
        reasons=words.reasons(code for code in act.reasons if code != SETTLED),
        note=act.note,
        guideline=act.guideline or "",
    )


def _said(act: Judgment, group: Group) -> str:
    if act.outcome != "ranked":
        return _("all bad") if len(group.answers) > 2 else _("both bad")
    letter = {answer.id: LETTERS[place] for place, answer in enumerate(group.answers[: len(LETTERS)])}
    order = " > ".join(" = ".join(letter.get(a, "?") for a in tier) for tier in act.tiers)
    return order + words.strength(act.strength)


def _kinds(request: Request) -> dict[str, str]:
    return {rater.id: rater.kind for rater in request.app.state.store.raters()}


@router.get("/lead/adjudicate")
def cases_page(request: Request, person: Reviewer) -> Response:
    """What is open, the strongest opposition first, and what was settled."""
    found = adjudication.cases(request.app.state.store)
    waiting = [case for case in found if case.settled is None]
    settled = [case for case in found if case.settled is not None]
    settled.sort(key=lambda case: -case.settled.times.get("received", 0.0) if case.settled else 0.0)
    return render(
        request,
        "adjudicate.html.j2",
        waiting=waiting,
        settled=settled,
        most=SHOWN,
        opposition=OPPOSITION,
        said=_said,
        voice=voice,
        kinds=_kinds(request),
    )


@router.get("/lead/adjudicate/case")
def case_page(request: Request, person: Reviewer, group: str = "") -> Response:
    """One item with everybody's word, to be settled; who has read it is not asked to judge it."""
    case = adjudication.opened(request.app.state.store, person, group)
    kinds = _kinds(request)
    return render(
        request,
        "adjudicate_case.html.j2",
        case=case,
        group=case.group,
        voices=[voice(act, case.group, kinds) for act in case.voices],
        settled=voice(case.settled, case.group, kinds) if case.settled else None,
        opposition=_(OPPOSITION[case.opposition]),
    )


@router.post("/api/adjudicate")
def settle(request: Request, person: Reviewer, body: Settle) -> dict[str, Any]:
    """Keep the last word; the next open case."""
    store = request.app.state.store
    case = adjudication.case(store, body.group)
    answers = [answer.id for answer in case.group.answers]
    if any(place >= len(answers) for tier in body.verdict.tiers for place in tier):
        raise BadVerdict("there are not that many answers")
    tiers = tuple(tuple(answers[place] for place in tier) for tier in body.verdict.tiers)
    adjudication.settle(store, person, body.group, body.key, verdict_of(body.verdict, tiers))
    left = [each.group.id for each in adjudication.cases(store) if each.settled is None]
    return {"state": "kept", "next": left[0] if left else None}
