"""The lead's page of people, one person's page, and invitations. Sorted by name: nobody is ranked."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from assent.feedback import mine, people
from assent.feedback.queue import DAY
from assent.feedback.records import Person, Role, Work
from assent.stats.monitors import LEAST
from assent.web import rater_figures
from assent.web.auth import Form, Lead, field
from assent.web.language import noted
from assent.web.page import render
from assent.web.rater_figures import LEAST_CHOICES, PERCENT, RaterFigures
from assent.web.summaries import describe

router = APIRouter(prefix="/lead")
ROLES = (
    ("rater", noted("judges")),
    ("reviewer", noted("also sees progress and quality")),
    ("lead", noted("also brings data in, writes guidelines, invites and exports")),
)
INVITE_DAYS = 7
DAYS = 14
"""Days of working time on a person's page."""
LATEST = 20


@dataclass(frozen=True)
class PersonRow:
    """One line of the page of people."""

    person: Person
    figures: RaterFigures


@dataclass(frozen=True)
class WorkDay:
    """What somebody did on one day (UTC). `at`: its first second, Unix time."""

    at: float
    acts: int
    seconds: float


def work_days(work: Work, most: int = DAYS) -> list[WorkDay]:
    """The latest days with work, newest first; time is what items were in view."""
    days: dict[float, list[float]] = {}
    for act in work.judgments:
        if "received" in act.times:
            day = act.times["received"] // DAY * DAY
            days.setdefault(day, []).append(act.times.get("visible_ms", 0.0) / 1000)
    return [WorkDay(day, len(days[day]), sum(days[day])) for day in sorted(days, reverse=True)[:most]]


def _people(request: Request, link: str = "", role: str = "") -> Response:
    found = request.app.state.figures.of(rater_figures.compute)
    everybody = sorted(request.app.state.store.people(), key=lambda each: (each.name.casefold(), each.id))
    return render(
        request,
        "lead_people.html.j2",
        people=[PersonRow(each, found.of(each.rater.id)) for each in everybody],
        at=found.at,
        least=LEAST | {"skill": LEAST_CHOICES},
        percent=PERCENT,
        roles=ROLES,
        link=link,
        role=role,
        days=INVITE_DAYS,
    )


@router.get("/people")
def people_page(request: Request, person: Lead) -> Response:
    """Who is here and how it goes."""
    return _people(request)


@router.post("/people")
def invite(request: Request, person: Lead, form: Form) -> Response:
    """A link for one new person, shown once: only its hash is kept."""
    role = field(form, "role")
    if role not in set(Role):
        raise HTTPException(400, "There is no such role.")
    token = request.app.state.store.invite(Role(role), person.id)
    return _people(request, f"{request.app.state.settings.address}/join/{token}", role)


@router.get("/people/{id}")
def person_page(request: Request, person: Lead, id: str) -> Response:
    """One person: figures, what he was shown of sensitive content, working time, latest answers."""
    store = request.app.state.store
    shown = store.read(lambda db: people.find(db, id))
    work = store.work_of(shown)
    found = request.app.state.figures.of(rater_figures.compute)
    latest = work.judgments[:LATEST]
    groups = mine.groups_of(store, {judgment.group for judgment in latest})
    return render(
        request,
        "lead_person.html.j2",
        shown=shown,
        work=work,
        figures=found.of(shown.rater.id),
        at=found.at,
        least=LEAST | {"skill": LEAST_CHOICES},
        percent=PERCENT,
        exposure=mine.exposure(store, shown, work.judgments),
        work_days=work_days(work),
        rows=[describe(judgment, groups) for judgment in latest],
    )
