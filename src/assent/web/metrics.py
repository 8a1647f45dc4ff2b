"""`/metrics`: counts of the queue and times of requests, for Prometheus.

Nothing of what people wrote or who they are stands here, but how far a project is does: the page asks for a reviewer,
by a session or by a token of the API.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.feedback.store import Store
from assent.web.auth import Reviewer

router = APIRouter()
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""
METHODS = ("GET", "HEAD", "POST")
KNOWN = {
    "items": "Items in the queue.",
    "places": "Judgments wanted.",
    "judged": "Judgments made of those wanted.",
    "leased": "Items in somebody's hands.",
    "done": "Items with all their judgments.",
    "skipped": "Skips.",
    "gold": "Quiz and calibration items.",
}


class Queue(Collector):
    """Counts of the store, read when somebody looks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge a count."""
        progress = self._store.progress()
        for name, help in KNOWN.items():
            yield GaugeMetricFamily(f"assent_queue_{name}", help, value=getattr(progress, name))


class Meter:
    """Middleware: how many requests of each route, with which status, in what time. Paths themselves hold secrets."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        names = ("method", "route")
        self._seconds = Histogram(
            "assent_request_seconds", "Time to the end of a reply.", names, buckets=BUCKETS, registry=registry
        )
        self._requests = Counter("assent_requests", "Requests.", (*names, "status"), registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            route: Any = getattr(scope.get("route"), "path", "none")
            # Who asks at random must not make new series.
            method = scope["method"] if route != "none" and scope["method"] in METHODS else "any"
            self._seconds.labels(method, route).observe(time.perf_counter() - began)
            self._requests.labels(method, route, str(status)).inc()


def registry(store: Store) -> CollectorRegistry:
    """A registry of one application; the library's global one would be shared between several in a process."""
    made = CollectorRegistry()
    made.register(Queue(store))
    return made


@router.get("/metrics")
def metrics(request: Request, person: Reviewer) -> Response:
    """Everything counted, in Prometheus' text format."""
    return Response(generate_latest(request.app.state.registry), media_type="text/plain; version=0.0.4; charset=utf-8")
