"""Who may ask: a key, or without one, this machine under its own name."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from assent.serving.errors import ApiError
from assent.serving.settings import Settings

OPEN = ("/healthz",)
"""Paths that tell nothing worth a key."""


class Guard:
    """Middleware that turns requests away before a byte of their body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._hosts = app, settings.hosts
        self._key = None if settings.api_key is None else _digest(settings.api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope["path"], Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal:
            await refusal.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> ApiError | None:
        if self._key is None:
            host = headers.get("host", "")
            if _name(host) not in self._hosts:
                return ApiError(403, f"the host `{host}` is not this server", code="invalid_host")
        elif path not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # Digests, so that the time taken tells neither where two keys differ nor how long ours is.
            if not hmac.compare_digest(_digest(given.strip()), self._key) or scheme.lower() != "bearer":
                return ApiError(401, "give this server's key as `Authorization: Bearer KEY`", code="invalid_api_key")
        return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _name(host: str) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
