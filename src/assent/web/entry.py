"""The way in: sign-in, invites, and whether the service is alive."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from assent.feedback.errors import FeedbackError, NotAllowed, Throttled
from assent.feedback.records import Role
from assent.web.auth import (
    SESSION,
    SESSION_SECONDS,
    Form,
    Visitor,
    cookie_name,
    field,
    read_cookie,
    set_cookie,
)
from assent.web.language import gettext as _
from assent.web.language import said
from assent.web.page import render

router = APIRouter()


@router.get("/")
def home(person: Visitor) -> Response:
    """Everybody's first page."""
    if person is None:
        return RedirectResponse("/sign-in", 303)
    return RedirectResponse("/lead" if person.role == Role.lead else "/rate", 303)


@router.get("/healthz")
def health(request: Request) -> Response:
    """200 where the store answers."""
    request.app.state.store.progress()
    return PlainTextResponse("ok")


@router.get("/sign-in")
def sign_in_page(request: Request, person: Visitor) -> Response:
    """The form; there is no open sign-up. Who is signed in already goes on: a page from before leads here."""
    if person is not None:
        return RedirectResponse("/", 303)
    return render(request, "sign_in.html.j2", problem="", name="")


@router.post("/sign-in")
def sign_in(request: Request, form: Form) -> Response:
    """Name and password for a session. One sentence whatever was wrong, so that names cannot be guessed."""
    name = field(form, "name")
    try:
        session = request.app.state.store.sign_in(name, field(form, "password", 1000), _address(request))
    except Throttled as error:
        return render(request, "sign_in.html.j2", 429, problem=_sentence(error.what), name=name)
    except NotAllowed:
        return render(request, "sign_in.html.j2", 403, problem=_("This name and password do not fit."), name=name)
    return _signed_in(request, session)


def _address(request: Request) -> str:
    """Where a request comes from; behind a proxy the server put there what a proxy it trusts says (`cli/serve.py`)."""
    return request.client.host if request.client else ""


def _signed_in(request: Request, session: str) -> Response:
    response = RedirectResponse("/", 303)
    set_cookie(response, SESSION, session, request.app.state.settings, SESSION_SECONDS)
    return response


@router.post("/sign-out")
def sign_out(request: Request, person: Visitor) -> Response:
    """End the session on the server, too."""
    if session := read_cookie(request, SESSION):
        request.app.state.store.sign_out(session)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(cookie_name(SESSION, request.app.state.settings))
    return response


@router.get("/join/{token}")
def join_page(request: Request, token: str) -> Response:
    """The form behind an invite. Looking at it does not use the invite up."""
    return render(request, "join.html.j2", problem="", name="", token=token)


@router.post("/join/{token}")
def join(request: Request, token: str, form: Form) -> Response:
    """Make the account and sign in."""
    name, password = field(form, "name"), field(form, "password", 1000)
    store = request.app.state.store
    try:
        if password != field(form, "again", 1000):
            raise FeedbackError("The two passwords differ.")
        store.accept(token, name, password)
    except FeedbackError as error:
        return render(request, "join.html.j2", 400, problem=_sentence(error.what), name=name, token=token)
    return _signed_in(request, store.sign_in(name, password, _address(request)))


def _sentence(text: str) -> str:
    text = said(text)
    return text[:1].upper() + text[1:].rstrip(".") + "."
