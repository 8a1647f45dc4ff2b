"""Models for tests of the service: endpoints that answer out of a function, without a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from assent.web.endpoints import Client, Endpoint

Answer = Callable[[dict[str, Any]], str | httpx.Response]


def endpoint(name: str, **more: Any) -> Endpoint:
    """One whose model is called as nobody's text is."""
    return Endpoint(name=f"end-{name}", url="http://127.0.0.1:1/v1", model=f"secret-{name}", **more)


def completion(text: str, finish: str = "stop") -> httpx.Response:
    """A reply as OpenAI's API gives it."""
    message = {"role": "assistant", "content": text}
    return httpx.Response(200, json={"choices": [{"index": 0, "message": message, "finish_reason": finish}]})


@dataclass
class Models:
    """What was asked, what is answered, and how long the client wanted to wait."""

    answer: Answer
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        body = json.loads(request.content)
        with self._lock:
            self.asked.append(body)
            self.headers.append(dict(request.headers))
        said = self.answer(body)
        return said if isinstance(said, httpx.Response) else completion(said)

    @property
    def client(self) -> Client:
        """A client that reaches nothing else, and never sleeps."""
        return Client(httpx.MockTransport(self.handle), self.slept.append)


def in_turn(answers: Sequence[str | httpx.Response]) -> Answer:
    """Each of these once, in order."""
    rest = iter(answers)
    return lambda body: next(rest)


def by_model(body: dict[str, Any]) -> str:
    """Says which model it is by its first letter after the dash, and how long the conversation is."""
    return f"{body['model'].split('-')[1].upper()} after {len(body['messages'])}, {body['seed']}"
