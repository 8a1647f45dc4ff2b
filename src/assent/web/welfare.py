"""What a rater decides for himself: categories he will not see, a daily cap, breaks, and what he tells of himself."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.feedback import attributes, mine, optout
from assent.feedback.forget import delete_my_data
from assent.web.auth import SESSION, Form, Rater, cookie_name, field
from assent.web.page import render

router = APIRouter(prefix="/work/settings")
MOST_A_DAY = 10_000


@router.get("")
def settings(request: Request, person: Rater) -> Response:
    """The forms, with what holds now."""
    store = request.app.state.store
    return render(
        request,
        "welfare.html.j2",
        categories=sorted({*mine.categories(store), *person.opted_out}),
        choices=attributes.CHOICES,
        told=attributes.attributes(store).get(person.rater.id, {}),
        most=MOST_A_DAY,
    )


@router.post("")
def set_limits(request: Request, person: Rater, form: Form) -> Response:
    """Keep what the person will not see, and his cap; an empty cap is none."""
    store, cap = request.app.state.store, field(form, "daily_cap", 10).strip()
    if cap and not (cap.isascii() and cap.isdecimal() and 1 <= int(cap) <= MOST_A_DAY):
        raise HTTPException(400, f"The most items a day is a whole number from 1 to {MOST_A_DAY}, or nothing.")
    out = {each for each in form.getlist("opted_out") if isinstance(each, str)}
    if out - {*mine.categories(store), *person.opted_out}:
        raise HTTPException(400, "There is no such category any more. Load the page again.")
    optout.set_limits(store, person, sorted(out), int(cap) if cap else None)
    return RedirectResponse("/work/settings", 303)


@router.post("/about")
def about(request: Request, person: Rater, form: Form) -> Response:
    """Keep what the person tells of himself, in place of all before; nothing chosen is nothing told."""
    given = {key: field(form, f"about-{key}") for key in attributes.CHOICES}
    attributes.set_attributes(request.app.state.store, person, {key: said for key, said in given.items() if said})
    return RedirectResponse("/work/settings", 303)


@router.post("/forget")
def forget(request: Request, person: Rater, form: Form) -> Response:
    """Take oneself out of the project; the name is typed, so that nobody does it by a slip."""
    if field(form, "name").strip() != person.name:
        raise HTTPException(400, "Type your name as it stands at the top, so that this is no slip.")
    delete_my_data(request.app.state.store, person, texts=field(form, "texts") == "yes")
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(cookie_name(SESSION, request.app.state.settings))
    return response
