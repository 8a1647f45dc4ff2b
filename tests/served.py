"""Endpoints of tiny models for tests, and what their streams say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

import data_tokenizers
import tiny
from assent.config.blocks import Sampling
from assent.data.templates import attach_template
from assent.engine.generate import LocalGenerator
from assent.serving import Settings, create_app

NAME = "tiny"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HOST = "http://127.0.0.1"


def words() -> LocalGenerator:
    """A model whose tokens are words, with room for 64 of them."""
    return LocalGenerator(tiny.policy(), tiny.tokenizer(), NAME, Sampling())


def letters(template: str = "chatml") -> LocalGenerator:
    """A model whose tokens are bytes and pieces of words: most of what it writes is no proper UTF-8."""
    tokenizer = data_tokenizers.bpe()
    attach_template(tokenizer, template)
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": None}
    model = tiny.policy(vocab_size=len(tokenizer), max_position_embeddings=512, **ends)
    return LocalGenerator(model, tokenizer, NAME, Sampling())


def app(generator: LocalGenerator | None = None, **settings: Any) -> FastAPI:
    """An endpoint's application."""
    return create_app(generator or words(), Settings(**settings))


@contextmanager
def client(generator: LocalGenerator | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of a running endpoint."""
    made = TestClient(app(generator, **settings), base_url=HOST, raise_server_exceptions=False)
    with made:
        yield made


def ask(text: str = "w1 w2 w3", **fields: Any) -> dict[str, Any]:
    """The body of a chat of one turn, with a seed."""
    return {"model": NAME, "messages": [{"role": "user", "content": text}], "seed": 7, "max_tokens": 12, **fields}


def texts(reply: dict[str, Any]) -> list[str]:
    """Texts of a whole chat's choices."""
    return [choice["message"]["content"] for choice in reply["choices"]]


def chunks(stream: str) -> list[dict[str, Any]]:
    """Objects of a stream, which must end as OpenAI's do."""
    *events, last, rest = stream.split("\n\n")
    assert last == "data: [DONE]" and rest == ""
    assert all(event.startswith("data: ") for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def put_together(stream: str) -> list[tuple[str, str]]:
    """(text, finish reason) of each choice of a streamed chat."""
    found: dict[int, list[Any]] = {}
    for chunk in chunks(stream):
        for choice in chunk["choices"]:
            text = found.setdefault(choice["index"], ["", None])
            assert text[1] is None, "a choice goes on after its end"
            text[0] += choice["delta"].get("content", "")
            text[1] = choice["finish_reason"]
    return [(text, finish) for _, (text, finish) in sorted(found.items())]


class Call:
    """One request to an application without a server between: what is sent back can be read as it comes."""

    def __init__(self, to: FastAPI, path: str, body: dict[str, Any]) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._asked.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8001),
        }
        self.task = asyncio.ensure_future(to(scope, self._asked.get, self.sent.put))

    def leave(self) -> None:
        """What a server says when the client has closed the connection."""
        self._asked.put_nowait({"type": "http.disconnect"})

    async def part(self) -> str:
        """The next piece of the body."""
        while (message := await asyncio.wait_for(self.sent.get(), 60))["type"] != "http.response.body":
            pass
        return str(message["body"].decode())


def running(to: FastAPI, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work while the application runs."""

    async def main() -> None:
        async with to.router.lifespan_context(to):
            await work()

    asyncio.run(main())
