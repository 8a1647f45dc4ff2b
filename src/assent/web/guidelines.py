"""The guideline: read by raters, with what changed since they read it; written by the lead, with its history."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.feedback import guidelines as versions
from assent.feedback.textdiff import changes
from assent.web.auth import Form, Lead, Rater, field
from assent.web.page import render

router = APIRouter()


@router.get("/guideline")
def guideline_page(request: Request, person: Rater) -> Response:
    """The guideline in force; it must be read once before work."""
    store = request.app.state.store
    current, before = store.guideline(), store.read(lambda db: versions.last_read(db, person.id))
    if current is None or before is None or before.version == current.version:
        return render(request, "guideline.html.j2", guideline=current, before=None)
    return render(
        request,
        "guideline.html.j2",
        guideline=current,
        before=before,
        lines=changes(before.text, current.text),
        rules=versions.changed_rules(before.text, current.text),
    )


@router.post("/guideline")
def guideline_read(request: Request, person: Rater, form: Form) -> Response:
    """The person has read the version that he was shown."""
    current = request.app.state.store.guideline()
    if current is None or field(form, "version") != current.version:
        raise HTTPException(409, "The guideline has changed meanwhile. Read the new one.")
    request.app.state.store.read_guideline(person, current.version)
    return RedirectResponse("/rate", 303)


@router.get("/lead/guidelines")
def guidelines_page(request: Request, person: Lead, number: str = "") -> Response:
    """The guideline in force, to be changed; every version, and what one of them (`number`, 1 the first) changed."""
    store = request.app.state.store
    history = store.read(versions.versions)
    shown = int(number) if number.isdecimal() and len(number) < 9 else len(history)
    if number and not 1 <= shown <= len(history):
        raise HTTPException(404, "There is no such version of the guideline.")
    lines = changes(history[shown - 2].guideline.text, history[shown - 1].guideline.text) if shown > 1 else []
    return render(
        request,
        "lead_guidelines.html.j2",
        guideline=store.guideline(),
        history=history,
        shown=shown,
        lines=lines,
    )


@router.post("/lead/guidelines")
def guidelines(request: Request, person: Lead, form: Form) -> Response:
    """Put a new version in force."""
    name, text = field(form, "name", 80).strip(), field(form, "text", 60_000).replace("\r\n", "\n").strip()
    if not (name and text):
        raise HTTPException(400, "A guideline needs a name and a text.")
    request.app.state.store.add_guideline(text, name, by=person.id)
    return RedirectResponse("/lead/guidelines", 303)
