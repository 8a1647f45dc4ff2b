"""The application: OpenAI's four paths, their errors, and a worker that lives as long as it does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from assent.engine.generate import LocalGenerator
from assent.serving.answer import Feed, jobs_of, stream, whole
from assent.serving.codec import Codec
from assent.serving.errors import ApiError, broken
from assent.serving.guard import Guard
from assent.serving.replies import ChatReply, Reply, TextReply
from assent.serving.requests import Ask, ChatAsk, TextAsk, parse
from assent.serving.settings import Settings
from assent.serving.worker import Worker

GONE = 499
"""Status for the log where the client has left: nobody reads it."""
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""No proxy may keep pieces back."""


def create_app(generator: LocalGenerator, settings: Settings | None = None) -> FastAPI:
    """An application that serves `generator`'s model under the name `generator.source`.

    The temperature and length of answers are each request's own. Whoever listens on other than the loopback address
    must set `settings.api_key`; the command `assent endpoint` sees to it.
    """
    endpoint = _Endpoint(generator, settings or Settings())
    # The built-in pages of documentation load scripts from elsewhere.
    app = FastAPI(title="Assent endpoint", docs_url=None, redoc_url=None, openapi_url=None, lifespan=endpoint.lifespan)
    app.add_middleware(Guard, settings=endpoint.settings)
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(HTTPException, _no_path)
    app.add_exception_handler(Exception, _failed)
    app.add_api_route("/v1/chat/completions", endpoint.chat, methods=["POST"])
    app.add_api_route("/v1/completions", endpoint.text, methods=["POST"])
    app.add_api_route("/v1/models", endpoint.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", endpoint.model, methods=["GET"])
    app.add_api_route("/healthz", endpoint.health, methods=["GET"])
    return app


class _Endpoint:
    """One model and its worker."""

    def __init__(self, generator: LocalGenerator, settings: Settings) -> None:
        self.settings, self._name, self._since = settings, generator.source, int(time.time())
        self._codec = Codec(generator.model, generator.tokenizer)
        self._worker = Worker(generator.model, self._codec, settings)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """The worker begins and ends with the server."""
        self._worker.start()
        try:
            yield
        finally:
            await run_in_threadpool(self._worker.close)

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        ask = parse(ChatAsk, await _body(request, self.settings.max_body))
        return await self._answer(request, ask, ChatReply(self._name, self._codec))

    async def text(self, request: Request) -> Response:
        """POST /v1/completions."""
        ask = parse(TextAsk, await _body(request, self.settings.max_body))
        return await self._answer(request, ask, TextReply(self._name, self._codec))

    async def models(self) -> Response:
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, name: str) -> Response:
        """GET /v1/models/NAME."""
        self._check_name(name)
        return JSONResponse(self._card())

    async def health(self) -> Response:
        """GET /healthz: 200 where requests are answered, with the length of the queue; else 503."""
        alive = self._worker.alive()
        return JSONResponse({"status": "ok" if alive else "down", **self._worker.state()}, 200 if alive else 503)

    async def _answer(self, request: Request, ask: Ask, reply: Reply) -> Response:
        self._check_name(ask.model)
        feed = Feed()
        jobs = await run_in_threadpool(jobs_of, ask, self._codec, self.settings, feed.emit)
        self._worker.submit(jobs)
        feed.watch(request, jobs)
        if ask.stream:
            events = stream(feed, reply, jobs, ask.counts_streamed)
            return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)
        found = await whole(feed, reply, jobs)
        return Response(status_code=GONE) if found is None else JSONResponse(found)

    def _check_name(self, name: str) -> None:
        if name != self._name:
            what = f"there is no model `{name}`; this server has `{self._name}`"
            raise ApiError(404, what, param="model", code="model_not_found")

    def _card(self) -> dict[str, Any]:
        return {"id": self._name, "object": "model", "created": self._since, "owned_by": "assent"}


async def _body(request: Request, most: int) -> bytes:
    """The body, which must be JSON by its header (pages of other sites cannot send that unasked) and not too long."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send `Content-Type: application/json`", code="unsupported_media_type")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise ApiError(413, f"the body has more than {most} bytes", code="request_too_large")
    return bytes(body)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _no_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}: {str(error.detail).lower()}"
    return ApiError(error.status_code, what, code="unknown_url").response()


async def _failed(_: Request, error: Exception) -> Response:
    return broken().response()
