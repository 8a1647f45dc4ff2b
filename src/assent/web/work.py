"""A person's own page: counts, time, agreement, check items with the right to contest, and what he wants to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.core.records import Group
from assent.feedback import contests, mine
from assent.feedback.contests import Check, Contest
from assent.web.auth import Form, Rater, Reviewer, field
from assent.web.page import render
from assent.web.summaries import describe, left_share

router = APIRouter()
SHOWN = 50


@dataclass(frozen=True)
class CheckRow:
    """One check item: the judgment in the words of its rater's screen, and the known verdict in the same."""

    id: str
    when: str
    prompt: str
    answers: tuple[tuple[str, str], ...]
    said: str
    known: str
    why: str
    explanation: str
    right: bool
    contest: Contest | None


def _row(check: Check) -> CheckRow:
    groups: Mapping[str, Group] = {check.group.id: check.group}
    said = describe(check.judgment, groups)
    known = {"outcome": "ranked", "tiers": check.known, "strength": None, "ideal": None}
    text = {answer.id: answer.text for answer in check.group.answers}
    shown = zip("ABCDEFGHI", (text[answer] for answer in check.judgment.shown_order), strict=False)
    return CheckRow(
        id=check.judgment.id,
        when=said.when,
        prompt=said.prompt,
        answers=tuple(shown),
        said=said.said,
        known=describe(check.judgment.model_copy(update=known), groups).said,
        why=said.why,
        explanation=check.explanation,
        right=check.right,
        contest=check.contest,
    )


@router.get("/work")
def my_work(request: Request, person: Rater) -> Response:
    """A person's own counts, time, agreement, check items and latest answers. No speed."""
    store = request.app.state.store
    work = store.work_of(person)
    latest = work.judgments[:SHOWN]
    groups = mine.groups_of(store, {judgment.group for judgment in latest})
    return render(
        request,
        "work.html.j2",
        work=work,
        exposure=mine.exposure(store, person, work.judgments),
        agreement=mine.agreement_with_others(store, person),
        left=left_share(work.judgments),
        checks=[_row(each) for each in contests.checks(store, person, SHOWN)],
        rows=[describe(judgment, groups) for judgment in latest],
    )


@router.post("/work/contest")
def contest(request: Request, person: Rater, form: Form) -> Response:
    """Say that a known verdict is wrong."""
    judgment, text = field(form, "judgment"), field(form, "text", contests.MOST_CHARACTERS)
    contests.contest(request.app.state.store, person, judgment, text)
    return RedirectResponse("/work#checks", 303)


@router.get("/lead/contests")
def contests_page(request: Request, person: Reviewer) -> Response:
    """Objections to known verdicts, without names: what counts is the argument."""
    rows = [_row(each) for each in contests.contested(request.app.state.store)]
    return render(request, "lead_contests.html.j2", rows=rows)


@router.post("/lead/contests")
def reply(request: Request, person: Reviewer, form: Form) -> Response:
    """Answer an objection."""
    n = field(form, "contest", 12)
    if not n.isascii() or not n.isdecimal():
        raise HTTPException(400, "There is no such objection.")
    contests.reply(request.app.state.store, person, int(n), field(form, "text", contests.MOST_CHARACTERS))
    return RedirectResponse("/lead/contests", 303)
