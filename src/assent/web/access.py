"""Tokens for programs: made, shown once, listed, revoked."""

from __future__ import annotations

import time

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.feedback import tokens
from assent.feedback.records import Person
from assent.web.auth import Form, Lead, field
from assent.web.language import noted
from assent.web.page import render

router = APIRouter(prefix="/lead/access")
DAYS = (30, 90, 365)
SCOPES: dict[tokens.Scope, str] = {"read": noted("read"), "write": noted("read, and add data")}


def _page(request: Request, made: str = "") -> Response:
    store = request.app.state.store
    people: list[Person] = store.people()
    return render(
        request,
        "lead_access.html.j2",
        tokens=tokens.listed(store),
        names={person.id: person.name for person in people},
        now=time.time(),
        days=DAYS,
        scopes=SCOPES,
        made=made,
        address=request.app.state.settings.address,
    )


@router.get("")
def access(request: Request, person: Lead) -> Response:
    """Everybody's tokens, without the secret part."""
    return _page(request)


@router.post("")
def make(request: Request, person: Lead, form: Form) -> Response:
    """A token of the lead's own."""
    days, scope = field(form, "days", 5), field(form, "scope", 5) or "read"
    if days not in map(str, DAYS):
        raise HTTPException(400, "Choose for how many days the token works.")
    if scope not in SCOPES:
        raise HTTPException(400, "Choose what the token may do.")
    chosen: tokens.Scope = "write" if scope == "write" else "read"
    return _page(request, tokens.make(request.app.state.store, person, field(form, "name"), int(days), chosen))


@router.post("/revoke")
def revoke(request: Request, person: Lead, form: Form) -> Response:
    """End a token now."""
    tokens.revoke(request.app.state.store, person, field(form, "token"))
    return RedirectResponse("/lead/access", 303)
