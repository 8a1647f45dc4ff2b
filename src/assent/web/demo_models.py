"""Two pretended models for `assent serve --demo`, so that its chat answers without any model or network."""

from __future__ import annotations

import json

import httpx

from assent.web.endpoints import Client, Endpoint

NOWHERE = "http://127.0.0.1:1/v1"
ENDPOINTS = tuple(Endpoint(name=name, url=NOWHERE, model=name) for name in ("short", "eager"))
SAYS = {
    "short": "I am a stand-in, not a model. You said: “{said}”. A real one would answer in a line or two here.",
    "eager": "What a thing to say! I am only a stand-in, and would still be *delighted* to help with “{said}”.\n\n"
    "- First, I would agree with you.\n- Then I would say it again in other words.\n- At last I would ask for more.",
}


def client() -> Client:
    """Answers as the two would, whatever the address."""
    return Client(httpx.MockTransport(_answer))


def _answer(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    said = asked["messages"][-1]["content"].strip()[:200]
    message = {"role": "assistant", "content": SAYS[asked["model"]].replace("{said}", said)}
    return httpx.Response(200, json={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
