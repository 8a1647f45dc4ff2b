"""What every request passes: a host we know, a body that is not too long, a POST from our own pages, safe headers.

Plain ASGI, outermost, so that nothing (an error page, a static file) leaves without the headers.

A program that calls the API with a token sends no Origin and has no cookie. Such a request is told by `bearer` alone,
here and in `auth.py`: what passes without Origin is never looked up by its cookie, whatever cookies came with it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.web.language import gettext as _
from assent.web.settings import Settings

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: under it browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKENS = ("/api/v1/", "/metrics")
"""Where tokens are taken; nowhere else does the header Authorization mean anything."""


def bearer(path: str, headers: Headers) -> str | None:
    """The token of a request to the API, "" where the header holds none; None: the request may come by cookie."""
    given = headers.get("authorization")
    if given is None or not path.startswith(TOKENS):
        return None
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Guard:
    """Middleware around the whole app; refuses before any route runs."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with a status and one line."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message, scope["path"], self.settings.secure)
            await send(message)

        if refusal := self._refusal(scope):
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send_safely)
            return
        await self.app(scope, _limited(receive, self.settings.limit(scope["path"])), send_safely)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if _hostname(headers.get("host", "")) not in self.settings.hosts:
            return 421, _("this server does not answer under that name")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, _("the header Content-Length is not a number")
        if int(length) > self.settings.limit(scope["path"]):
            return 413, _("too large")
        if scope["method"] not in SAFE_METHODS and not self._ours(scope["path"], headers):
            return 403, _("this request did not come from our own pages")
        return None

    def _ours(self, path: str, headers: Headers) -> bool:
        """Whether our own page sends it, or with a token no page at all: browsers always name the page."""
        origin = headers.get("origin")
        if origin is None:
            return bearer(path, headers) is not None
        return origin == self._origin(headers)

    def _origin(self, headers: Headers) -> str:
        """The address people use where it is fixed; else the name this request itself came to."""
        return self.settings.public or f"http://{headers.get('host', '')}"


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # a bracket that opens no IPv6 address
        return None


def _add_headers(message: Message, path: str, secure: bool) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    if secure:
        headers["strict-transport-security"] = "max-age=31536000"
    headers.setdefault("cache-control", "no-cache" if path.startswith("/static/") else "no-store")


def _limited(receive: Receive, limit: int) -> Receive:
    """Count what really arrives: a chunked body names no length."""
    read = 0

    async def count() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise HTTPException(413, "too large")
        return message

    return count
