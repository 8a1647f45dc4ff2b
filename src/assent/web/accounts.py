"""Accounts after they are made: a new password by a link from the lead, roles, closing and opening."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.feedback.errors import FeedbackError
from assent.feedback.records import Role
from assent.web.auth import Form, Lead, field
from assent.web.language import said
from assent.web.page import render

router = APIRouter()
LINK_DAYS = 7


@router.post("/lead/people/reset")
def reset_link(request: Request, person: Lead, form: Form) -> Response:
    """A link with which one person sets a new password, shown once: only its hash is kept."""
    store, of = request.app.state.store, field(form, "person")
    token = store.reset_link(of, by=person.id)
    name = next(each.name for each in store.people() if each.id == of)
    link = f"{request.app.state.settings.address}/reset/{token}"
    return render(request, "reset_link.html.j2", name=name, link=link, days=LINK_DAYS)


@router.post("/lead/people/change")
def change(request: Request, person: Lead, form: Form) -> Response:
    """Another role, or a closed or opened account: the form has a field `role`, or `active` as yes or no."""
    role, active = field(form, "role"), field(form, "active")
    if role not in ("", *Role):
        raise HTTPException(400, "There is no such role.")
    if active not in ("", "yes", "no") or not (role or active):
        raise HTTPException(400, "Say which role, or whether the account is open.")
    request.app.state.store.change_person(
        person.id,
        field(form, "person"),
        role=Role(role) if role else None,
        active=active == "yes" if active else None,
    )
    return RedirectResponse("/lead/people", 303)


@router.get("/reset/{token}")
def reset_page(request: Request, token: str) -> Response:
    """The form behind a link. Looking at it does not use the link up."""
    return render(request, "reset.html.j2", problem="", token=token)


@router.post("/reset/{token}")
def reset(request: Request, token: str, form: Form) -> Response:
    """Set the new password; whoever was signed in as this person, or held a token of his, is out."""
    password, store = field(form, "password", 1000), request.app.state.store
    try:
        if password != field(form, "again", 1000):
            raise FeedbackError("the two passwords differ")
        store.set_password(token, password)
    except FeedbackError as error:
        problem = said(error.what)
        problem = problem[:1].upper() + problem[1:] + "."
        return render(request, "reset.html.j2", 400, problem=problem, token=token)
    return RedirectResponse("/sign-in", 303)
