"""The web application: middleware, routes, and errors said as pages or as JSON."""

from __future__ import annotations

from pathlib import Path
from threading import Semaphore
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from assent.core.console import log
from assent.core.errors import AssentError
from assent.feedback.errors import (
    AlreadyAnswered,
    BadVerdict,
    LeaseExpired,
    NotAllowed,
    NotFound,
    Throttled,
    Unavailable,
)
from assent.feedback.store import Store
from assent.web import (
    access,
    accounts,
    adjudicate,
    api,
    audit_log,
    chat,
    data,
    entry,
    export,
    gold,
    guidelines,
    lead,
    metrics,
    people,
    pool,
    quality,
    queue,
    rating,
    sample,
    welfare,
    work,
)
from assent.web.auth import SignInNeeded, check_csrf
from assent.web.endpoints import Client
from assent.web.figures import Figures
from assent.web.guard import Guard
from assent.web.language import Spoken, load, noted, said
from assent.web.page import render
from assent.web.sampling import Sampling
from assent.web.settings import Settings

STATIC = Path(__file__).parent / "static"
STATUS = (
    *((Throttled, 429), (NotAllowed, 403), (NotFound, 404), (LeaseExpired, 409), (AlreadyAnswered, 409)),
    (Unavailable, 503),
)
SIGN_IN, MISFIT = noted("sign in first"), noted("this judgment does not fit its item")
NOWHERE, MALFORMED = noted("There is no such page."), noted("The server does not understand this request.")
STATE: dict[type[Exception], str] = {LeaseExpired: "expired", AlreadyAnswered: "answered", NotFound: "expired"}


def create_app(store: Store, settings: Settings | None = None, models: Client | None = None) -> FastAPI:
    """The application over an open store; the caller closes the store. `models` asks the endpoints of the settings."""
    # The pages that document an API by default load scripts from elsewhere.
    app = FastAPI(title="Assent", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(check_csrf)])
    app.state.store, app.state.settings = store, settings or Settings()
    app.state.uploads = data.Uploads()
    app.state.models, app.state.sampling = models or Client(), Sampling()
    app.state.asking = Semaphore(chat.MOST_ASKED)
    app.state.figures = Figures(store)
    app.state.registry = metrics.registry(store)
    for module in (
        entry,
        rating,
        lead,
        quality,
        queue,
        people,
        pool,
        data,
        export,
        work,
        audit_log,
        accounts,
        guidelines,
        gold,
        adjudicate,
        metrics,
        chat,
        sample,
        access,
        api,
        welfare,
    ):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(metrics.Meter, registry=app.state.registry)
    app.add_middleware(Guard, settings=app.state.settings)
    app.add_middleware(Spoken, language=load(app.state.settings.language))
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _say(request: Request, status: int, message: str, **more: Any) -> Response:
    # What programs read under /api/v1 stays as the documents say it.
    message = message if request.url.path.startswith("/api/v1/") else said(message)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"message": message, **more}, status)
    return render(request, "error.html.j2", status, message=message)


def _sign_in(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/api/") or "authorization" in request.headers:
        return JSONResponse({"message": said(SIGN_IN)}, 401)
    return RedirectResponse("/sign-in", 303)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AssentError)
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 400)
    if status == 503:  # for whoever runs the server; rating screens keep what they hold and try again
        log.print(str(error), markup=False)
    # What the store says of a verdict names answers by id; who is blind must not see ids.
    blind = isinstance(error, BadVerdict) and request.url.path.startswith("/api/")
    what = MISFIT if blind else error.what
    return _say(request, status, what, state=STATE.get(type(error), "refused"))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _say(request, error.status_code, NOWHERE if error.status_code == 404 else error.detail)


def _malformed(request: Request, error: Exception) -> Response:
    return _say(request, 422, MALFORMED, state="refused")


HANDLERS = {
    SignInNeeded: _sign_in,
    AssentError: _refused,
    HTTPException: _http,
    RequestValidationError: _malformed,
}
