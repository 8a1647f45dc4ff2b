"""The queue: what goes together, what waits, what is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import served
from held import Held
from served import CHAT, ask


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=served.HOST)


def all_at_once(bodies: Sequence[dict[str, Any]], **settings: Any) -> list[dict[str, Any]]:
    """Replies to requests that are sent together; the first batch waits for all of them."""
    n = sum(body.get("n", 1) for body in bodies)
    with served.client(gather=60, **{"max_answers": n} | settings) as client, ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: client.post(CHAT, json=body).json(), bodies))


def test_requests_of_one_temperature_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    all_at_once([ask(f"w{i}", seed=i, n=1 + i, max_tokens=3 + i, stop=f"w{i}") for i in range(4)])
    ((temperature, answers, most),) = held.batches
    assert temperature == 1.0 and sorted(answers) == [1, 2, 3, 4] and most == 6


def test_requests_of_different_temperatures_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Held(monkeypatch, after=1), served.app()

    async def work() -> None:
        async with client_of(app) as client:
            first = asyncio.ensure_future(client.post(CHAT, json=ask(temperature=0.5)))
            await held.until_reached()
            bodies = [ask(f"w{i}", temperature=t) for i, t in enumerate([1, 0, 1, 0, 1])]
            others = [asyncio.ensure_future(client.post(CHAT, json=body)) for body in bodies]
            while (await client.get("/healthz")).json()["waiting"] < 5:
                await asyncio.sleep(0)
            held.go.set()
            assert all(reply.status_code == 200 for reply in await asyncio.gather(first, *others))

    served.running(app, work)
    assert held.batches[0] == (0.5, [1], 12)
    assert sorted(held.batches[1:]) == [(0, [1, 1], 12), (1, [1, 1, 1], 12)]


def test_a_batch_holds_no_more_answers_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    replies = all_at_once([ask(f"w{i}", n=2) for i in range(6)], max_answers=4)
    assert all(len(reply["choices"]) == 2 for reply in replies)
    assert [answers for _, answers, _ in held.batches] == [[2, 2]] * 3


def test_a_full_queue_turns_requests_away_and_takes_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Held(monkeypatch, after=1), served.app(max_waiting=3)

    async def work() -> None:
        async with client_of(app) as client:
            first = asyncio.ensure_future(client.post(CHAT, json=ask()))
            await held.until_reached()
            second = asyncio.ensure_future(client.post(CHAT, json=ask(n=2)))
            while (state := (await client.get("/healthz")).json())["waiting"] < 2:
                await asyncio.sleep(0)
            assert state == {"status": "ok", "waiting": 2, "running": 1}
            for body in (ask(n=2), ask(n=2, stream=True)):
                full = await client.post(CHAT, json=body)
                assert full.status_code == 429 and full.json()["error"]["code"] == "rate_limit_exceeded"
                assert full.headers["retry-after"] == "1"
            held.go.set()
            assert [(await reply).status_code for reply in (first, second)] == [200, 200]
            assert (await client.post(CHAT, json=ask(n=3))).status_code == 200

    served.running(app, work)


def test_when_the_server_ends_whoever_waits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Held(monkeypatch, after=2), served.app()
    replies: list[httpx.Response] = []

    async def main() -> None:
        async with client_of(app) as client:
            async with app.router.lifespan_context(app):
                first = asyncio.ensure_future(client.post(CHAT, json=ask()))
                await held.until_reached()
                second = asyncio.ensure_future(client.post(CHAT, json=ask(temperature=0)))
                while (await client.get("/healthz")).json()["waiting"] < 1:
                    await asyncio.sleep(0)
                first.add_done_callback(lambda _: held.go.set())
            replies.extend([await first, await second])
            late = await client.post(CHAT, json=ask())
            replies.append(late)
            assert (await client.get("/healthz")).status_code == 503

    asyncio.run(main())
    assert [reply.status_code for reply in replies] == [503, 503, 503]
    assert held.tokens == 2 and len(held.batches) == 1
