"""From a request to its jobs, and from what the worker emits to the reply."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.requests import Request

from assent.core.errors import AssentError
from assent.core.hashing import content_id
from assent.serving import replies
from assent.serving.codec import Codec
from assent.serving.errors import ApiError
from assent.serving.jobs import Done, Event, Failed, Job, Piece
from assent.serving.replies import Reply
from assent.serving.requests import Ask
from assent.serving.settings import Settings


def jobs_of(ask: Ask, codec: Codec, settings: Settings, emit: Callable[[Event], None]) -> list[Job]:
    """One job a prompt.

    An answer is named after its prompt's ids, the seed and its place among the choices: the same request gives the
    same answers, whatever else is in their batch; a longer `max_tokens` goes on where a shorter one ended.
    Raises ApiError (400).
    """
    prompts = ask.prompts()
    _check_number(ask.n, len(prompts), settings)
    try:
        encoded = codec.encode(prompts)
    except AssentError as error:
        raise ApiError(400, str(error), param=ask.TOLD, code="invalid_value") from None
    seed = secrets.randbits(63) if ask.seed is None else ask.seed
    return [
        Job(
            prompt=prompt,
            prompt_ids=ids,
            names=tuple(content_id("endpoint", ids, seed, place * ask.n + i) for i in range(ask.n)),
            first=place * ask.n,
            temperature=ask.temperature,
            max_tokens=_length(ask, len(ids), codec.room, settings.max_tokens),
            stop=tuple(ask.stop),
            stream=ask.stream,
            logprobs=ask.wants_logprobs,
            emit=emit,
        )
        for place, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True))
    ]


def _check_number(n: int, prompts: int, settings: Settings) -> None:
    if n > settings.max_n:
        raise ApiError(400, f"`n`: at most {settings.max_n} answers to a prompt", param="n", code="invalid_value")
    if n * prompts > settings.max_answers:
        what = f"{n} answers to {prompts} prompts: at most {settings.max_answers} answers in a request"
        raise ApiError(400, what, param="prompt", code="invalid_value")


def _length(ask: Ask, prompt: int, room: int, most: int) -> int:
    """Longest answer: what was asked for, which must be allowed and fit; else what is allowed and fits."""
    wanted = ask.max_tokens
    if wanted is not None and wanted > most:
        raise ApiError(400, f"`max_tokens`: at most {most} here", param="max_tokens", code="invalid_value")
    if prompt + (wanted or 1) > room:
        raise ApiError(
            400,
            f"the model's context holds {room} tokens, but the prompt has {prompt} and the answer may have "
            f"{wanted or 1}; shorten the prompt or lower `max_tokens`",
            param=ask.TOLD,
            code="context_length_exceeded",
        )
    return wanted or min(most, room - prompt)


class Feed:
    """What the worker emits, brought to the event loop; ends when the client leaves."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._jobs: Sequence[Job] = ()
        self._watch: asyncio.Task[None] | None = None

    def emit(self, event: Event) -> None:
        """Take an event, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the loop has been closed: nobody reads any more
            return

    def watch(self, request: Request, jobs: Sequence[Job]) -> None:
        """Give the jobs up as soon as the client has left."""
        self._jobs = jobs
        self._watch = asyncio.create_task(self._until_gone(request))

    def close(self) -> None:
        """Nobody reads any more."""
        for job in self._jobs:
            job.gone.set()
        if self._watch:
            self._watch.cancel()

    async def events(self) -> AsyncIterator[Piece | Done]:
        """Events until all choices are complete or the client has left. Raises ApiError where the server failed."""
        left = choices(self._jobs)
        while left and (event := await self._events.get()) is not None:
            if isinstance(event, Failed):
                raise event.error
            left -= isinstance(event, Done)
            yield event

    async def _until_gone(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        for job in self._jobs:
            job.gone.set()
        self._events.put_nowait(None)


async def whole(feed: Feed, reply: Reply, jobs: Sequence[Job]) -> replies.Json | None:
    """The reply of a request that is not streamed; None where the client has left. Raises ApiError."""
    try:
        done = [event async for event in feed.events() if isinstance(event, Done)]
    finally:
        feed.close()
    return reply.whole(done, prompt_tokens(jobs)) if len(done) == choices(jobs) else None


async def stream(feed: Feed, reply: Reply, jobs: Sequence[Job], counts: bool) -> AsyncIterator[str]:
    """Server-sent events: pieces of all choices as they come, each choice's end, the number of tokens where asked."""
    more = {"usage": None} if counts else {}
    done = []
    try:
        for index in range(choices(jobs)):
            if opening := reply.opening(index):
                yield replies.event(opening | more)
        async for event in feed.events():
            yield replies.event(reply.chunk(event) | more)
            if isinstance(event, Done):
                done.append(event)
    except ApiError as error:  # the status has been sent, so the stream itself says it
        yield replies.event(error.body())
        return
    finally:
        feed.close()
    if counts:
        yield replies.event(reply.count(done, prompt_tokens(jobs)))
    yield replies.LAST


def choices(jobs: Sequence[Job]) -> int:
    """Answers of a request."""
    return sum(len(job.names) for job in jobs)


def prompt_tokens(jobs: Sequence[Job]) -> int:
    """Tokens of all prompts of a request."""
    return sum(len(job.prompt_ids) for job in jobs)
