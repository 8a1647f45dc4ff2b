"""The rating screen and what it asks: the next item, an answer, undo.

The server picks item and order. The client knows an opaque assignment id and places on the screen, never whose
answer stands where.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from assent.feedback.errors import BadVerdict
from assent.feedback.records import Assignment, Guideline, Key, Verdict
from assent.web import words
from assent.web.auth import Rater
from assent.web.gold import told
from assent.web.language import gettext as _
from assent.web.markdown import to_html
from assent.web.page import render

router = APIRouter()
Id = Annotated[str, Field(min_length=1, max_length=100)]
Place = Annotated[int, Field(ge=0, le=8)]
Text = Annotated[str, Field(max_length=60_000)]
Tiers = tuple[tuple[str, ...], ...]


class Body(BaseModel):
    """What a request may hold: nothing but its fields, nothing turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Ask(Body):
    """What the client holds already, so that the next item is another one."""

    held: list[Id] = Field(default=[], max_length=1000)


class Said(Body):
    """A verdict in places on the screen."""

    outcome: str = Field(pattern="^(ranked|both_bad|skip)$")
    tiers: list[list[Place]] = Field(default=[], max_length=9)
    strength: int | None = Field(default=None, ge=0, le=3)
    reasons: list[Annotated[str, Field(max_length=40)]] = Field(default=[], max_length=12)
    note: Annotated[str, Field(max_length=4000)] = ""
    ideal: Text | None = None
    times: dict[Annotated[str, Field(max_length=20)], float] = Field(default={}, max_length=5)
    visible_ms: float | None = Field(default=None, ge=0, le=1e9)


class Submit(Body):
    """One answer; the same `key` again is the same answer."""

    key: Key
    assignment: Id
    verdict: Said


class Undo(Ask):
    """Take back the latest answer; the same `key` again is the same undo. `of`: the key it was given under."""

    key: Key
    of: Key | None = None


def _version(request: Request) -> str:
    current: Guideline | None = request.app.state.store.guideline()
    return current.version if current else ""


@router.get("/rate")
def screen(request: Request, person: Rater) -> Response:
    """The one screen of all kinds of work. The queue says so where the guideline must be read first."""
    store = request.app.state.store
    return render(request, "rate.html.j2", guideline=store.guideline(), done=store.work_of(person).judged)


@router.post("/api/next")
def next_item(request: Request, person: Rater, body: Ask) -> dict[str, Any]:
    """The next item that the client does not hold, or why there is none."""
    given = request.app.state.store.next(person, held=body.held)
    if isinstance(given, Assignment):
        return {"item": _shown(given), "wait": None, "guideline": given.guideline or ""}
    detail = {}
    if given.reason == "quiz":
        right, total = given.detail.split(" of ")
        detail = {"detail": _("{right} of {total}").format(right=right, total=total)}
    return {"item": None, "wait": given.reason, "guideline": _version(request), **detail}


def _shown(assignment: Assignment) -> dict[str, Any]:
    group = assignment.group
    answers = {answer.id: answer.text for answer in group.answers}
    return {
        "id": assignment.id,
        "kind": assignment.kind,
        "category": assignment.category,
        "turns": [
            {"role": turn.role, "who": _(words.WHO[turn.role]), "html": to_html(turn.content)}
            for turn in group.prompt.messages
        ],
        "answers": [{"html": to_html(answers[a].strip()), "text": answers[a]} for a in assignment.shown_order],
    }


def verdict_of(said: Said, tiers: Tiers) -> Verdict:
    """What the screen says, with the answers by id. Raises BadVerdict."""
    unknown = set(said.reasons) - words.CODES
    if unknown:
        raise BadVerdict(f"{min(unknown)} is no reason that the screen offers")
    if not all(math.isfinite(moment) for moment in said.times.values()):
        raise BadVerdict("a time is not a number")
    return Verdict(
        outcome=said.outcome,  # type: ignore[arg-type]  # checked by the pattern
        tiers=tiers,
        strength=said.strength,
        reasons=tuple(said.reasons),
        note=said.note,
        ideal=said.ideal,
        times=said.times,
        visible_ms=said.visible_ms,
    )


@router.post("/api/submit")
def submit(request: Request, person: Rater, body: Submit) -> dict[str, Any]:
    """Take one answer; of a check item, say what was known. A repetition with the same key says the same."""
    store, said = request.app.state.store, body.verdict
    assignment = store.assignment(person, body.assignment)
    verdict = verdict_of(said, assignment.tiers(said.tiers))
    kept = store.submit(person, body.assignment, body.key, verdict)
    return {"state": "kept", **told(store, kept)}


@router.post("/api/undo")
def undo(request: Request, person: Rater, body: Undo) -> dict[str, Any]:
    """Take back the latest answer; its item comes back."""
    store = request.app.state.store
    taken = store.undo(person, body.key, body.of)
    given = store.next(person, held=body.held)
    same = isinstance(given, Assignment) and given.group.id == taken.group
    return {"item": _shown(given) if same else None}
