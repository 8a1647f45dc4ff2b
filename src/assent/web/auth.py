"""Who asks: session cookie or API token, CSRF token, role. Applied by dependencies, so that no route can forget them.

A request with an API token (`guard.bearer`) is its person's or nobody's: its cookies are not looked at, so that no
other site can use them, and it needs no CSRF token. The CSRF token of everybody else is an HMAC of a cookie that
scripts cannot read (the session, or before sign-in a random visit), so nothing needs to be stored and no secret needs
to be configured. `guard.py` checks Origin as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from assent.feedback import tokens
from assent.feedback.records import Person, Role
from assent.web.guard import SAFE_METHODS, bearer
from assent.web.settings import Settings

SESSION, VISIT = "assent_session", "assent_visit"
SESSION_SECONDS = 14 * 24 * 3600


class SignInNeeded(Exception):
    """Nobody is signed in; pages lead to the sign-in page, the API answers 401."""


def cookie_name(name: str, settings: Settings) -> str:
    """Over https browsers take a `__Host-` cookie from this host alone."""
    return f"__Host-{name}" if settings.secure else name


def set_cookie(response: Response, name: str, value: str, settings: Settings, seconds: int | None = None) -> None:
    """A cookie no script can read, sent with our own pages only."""
    response.set_cookie(
        cookie_name(name, settings), value, max_age=seconds, httponly=True, samesite="lax", secure=settings.secure
    )


def read_cookie(request: Request, name: str) -> str | None:
    """The value of one of our cookies."""
    return request.cookies.get(cookie_name(name, request.app.state.settings))


def csrf_token(request: Request) -> str:
    """The token that this visitor's forms carry. A first visit is given its cookie by `page.render`."""
    seed = read_cookie(request, SESSION) or read_cookie(request, VISIT) or getattr(request.state, "visit", None)
    if seed is None:
        seed = request.state.visit = secrets.token_urlsafe(24)
    return hmac.new(seed.encode(), b"csrf", hashlib.sha256).hexdigest()


async def check_csrf(request: Request) -> AsyncIterator[None]:
    """Refuse what changes something without the token: in the header, or in the form's field `csrf`.

    Closes at the end the files of a form that anybody read.
    """
    try:
        await _compare_token(request)
        yield
    finally:
        await request.close()


async def _compare_token(request: Request) -> None:
    if request.method in SAFE_METHODS or bearer(request.scope["path"], request.headers) is not None:
        return
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        given = str((await request.form(max_files=1, max_fields=50)).get("csrf", ""))
    if not hmac.compare_digest((given or "").encode(), csrf_token(request).encode()):
        if request.url.path.startswith("/api/"):
            # The person signed out or in again since the page was loaded. Told so, the page keeps its unsent answers;
            # what is refused in any other way it gives up.
            raise SignInNeeded
        raise HTTPException(403, "This form is too old. Load the page again.")


async def person_of(request: Request) -> Person | None:
    """Who is signed in, or whose token it is, if anybody. A token of scope `read` opens what changes nothing."""
    store, token = request.app.state.store, bearer(request.scope["path"], request.headers)
    session = read_cookie(request, SESSION) if token is None else None
    found: Person | None = None
    if token is not None:
        found = await run_in_threadpool(tokens.person_of, store, token, request.method not in SAFE_METHODS)
    elif session is not None:
        found = await run_in_threadpool(store.person_of, session)
    request.state.person = found
    return found


Visitor = Annotated[Person | None, Depends(person_of)]


def need(role: Role) -> Callable[[Person | None], Awaitable[Person]]:
    """A dependency: the person signed in, of this role or above. Asynchronous, since others cost a turn of a thread."""

    async def check(person: Visitor) -> Person:
        if person is None:
            raise SignInNeeded
        if not person.role.covers(role):
            raise HTTPException(403, "Your account may not see this page.")
        return person

    return check


Rater = Annotated[Person, Depends(need(Role.rater))]
Reviewer = Annotated[Person, Depends(need(Role.reviewer))]
Lead = Annotated[Person, Depends(need(Role.lead))]


async def read_form(request: Request) -> FormData:
    """The form of the request; read once, so that routes need not be asynchronous."""
    return await request.form(max_files=1, max_fields=50)


Form = Annotated[FormData, Depends(read_form)]


def field(form: FormData, name: str, most: int = 200) -> str:
    """A text field of a form; a file in its place, or too long a text, is refused."""
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise HTTPException(400, f"The field {name} has more than {most} characters.")
    return value
