"""The chat: a rater talks with two models at once and does not learn which; each vote is a judgment like any other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from assent.core.console import log
from assent.core.records import Answer, sampled_answer_id
from assent.feedback import chats
from assent.feedback.chats import Chat, Mode
from assent.feedback.records import Key, Verdict, Wait
from assent.feedback.store import Store
from assent.web import words
from assent.web.auth import Rater
from assent.web.endpoints import Client, Endpoint, EndpointError
from assent.web.language import gettext as _
from assent.web.language import noted
from assent.web.markdown import to_html
from assent.web.page import render

router = APIRouter()
Id = Annotated[str, Field(min_length=1, max_length=100)]
Place = Annotated[int, Field(ge=0, le=1)]
Moment = Annotated[float, Field(allow_inf_nan=False)]
WAITS = {
    "guideline": noted("The guideline is new, or has changed. Read it first."),
    "cap": noted("Your daily number is reached. Thank you."),
    "quiz": noted("First the quiz: it waits under Judge."),
}


MOST_ASKED = 16
"""Messages that wait for models at once: each takes one of the server's threads, and judging must go on meanwhile."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Start(_Body):
    """A new conversation; the same `key` again is the same one."""

    key: Key
    mode: Mode


class Say(_Body):
    """A message to both models; the same `key` again is the same message."""

    chat: Id
    key: Key
    text: str = Field(min_length=1, max_length=chats.MOST_CHARACTERS)


class Cast(_Body):
    """What a rater decided, in places on the screen."""

    outcome: Literal["ranked", "both_bad"]
    tiers: list[list[Place]] = Field(default=[], max_length=2)
    strength: int | None = Field(default=None, ge=0, le=3)
    times: dict[Annotated[str, Field(max_length=20)], Moment] = Field(default={}, max_length=5)
    visible_ms: float | None = Field(default=None, ge=0, le=1e9)


class Vote(_Body):
    """A vote on the answers of one turn; the same `key` again is the same vote."""

    chat: Id
    turn: int = Field(ge=0, le=chats.MOST_TURNS)
    key: Key
    verdict: Cast


class Stop(_Body):
    """The end of a conversation."""

    chat: Id


@router.get("/chat")
def screen(request: Request, person: Rater) -> Response:
    """The page; what was said comes by /api/chat."""
    configured = bool(request.app.state.settings.endpoints)
    return render(request, "chat.html.j2", configured=configured, guideline=request.app.state.store.guideline())


@router.get("/api/chat")
def state(request: Request, person: Rater) -> dict[str, Any]:
    """The conversation that this person has open, if any."""
    store: Store = request.app.state.store
    chat = store.read(lambda db: chats.current(db, person))
    return {"chat": chat and _shown(chat)}


@router.post("/api/chat/start", response_model=None)
def start(request: Request, person: Rater, body: Start) -> dict[str, Any] | Response:
    """Begin with two models that the server draws."""
    store: Store = request.app.state.store
    names = [each.name for each in request.app.state.settings.endpoints]
    chat = store.write(lambda db, now: chats.start(db, now, person, body.key, body.mode, names))
    return _not_yet(chat) if isinstance(chat, Wait) else {"chat": _shown(chat)}


@router.post("/api/chat/say", response_model=None)
def say(request: Request, person: Rater, body: Say) -> dict[str, Any] | Response:
    """Ask both models. What was said is kept first, so that a lost connection or a reload asks again, not anew."""
    store: Store = request.app.state.store
    chat = store.write(lambda db, now: chats.say(db, now, person, body.chat, body.key, body.text))
    if isinstance(chat, Wait):
        return _not_yet(chat)
    if chat.pending and chat.pending.key == body.key and not chat.pending.answers:
        asking: Semaphore = request.app.state.asking
        if not asking.acquire(blocking=False):
            raise HTTPException(503, "Too many conversations wait for the models. Send your message again in a moment.")
        try:
            answers = _answers(request.app.state.models, request.app.state.settings.endpoints, chat)
        finally:
            asking.release()
        chat = store.write(lambda db, now: chats.answer(db, now, person, body.chat, body.key, answers))
    return {"chat": _shown(chat)}


@router.post("/api/chat/vote")
def vote(request: Request, person: Rater, body: Vote) -> dict[str, Any]:
    """Keep a vote, and go on from the better answer."""
    store: Store = request.app.state.store
    said = body.verdict
    verdict = Verdict(outcome=said.outcome, strength=said.strength, times=said.times, visible_ms=said.visible_ms)
    return {
        "chat": _shown(
            store.write(
                lambda db, now: chats.vote(db, now, person, body.chat, body.turn, body.key, verdict, said.tiers)
            )
        )
    }


@router.post("/api/chat/stop")
def stop(request: Request, person: Rater, body: Stop) -> dict[str, Any]:
    """End the conversation."""
    store: Store = request.app.state.store
    store.write(lambda db, now: chats.stop(db, now, person, body.chat))
    return {"chat": None}


def _not_yet(wait: Wait) -> Response:
    return JSONResponse({"message": _(WAITS[wait.reason]), "state": wait.reason}, 409)


def _answers(client: Client, endpoints: tuple[Endpoint, ...], chat: Chat) -> tuple[Answer, Answer]:
    """Both models' answers, asked at once. The rater is not told which one failed, nor how."""
    by_name = {each.name: each for each in endpoints}
    if not set(chat.models) <= set(by_name):
        raise HTTPException(409, "A model of this conversation is not here any more. Stop, and start a new one.")
    prompt = chat.prompt

    def ask(name: str, seed: int) -> Answer:
        endpoint = by_name[name]
        reply = client.complete(endpoint, prompt.messages, seed)
        source = endpoint.source()
        id = sampled_answer_id(prompt, source, seed, 0)
        return Answer(id=id, text=reply.text, finish=reply.finish, source=source, seed=seed)

    with ThreadPoolExecutor(2) as pool:
        try:
            first, second = pool.map(ask, chat.models, chat.seeds)
        except EndpointError as error:
            log.print(f"chat: {error}", markup=False, soft_wrap=True)
            raise HTTPException(502, "A model did not answer. Send your message again, or change it.") from None
    return first, second


def _shown(chat: Chat) -> dict[str, Any]:
    """A conversation as its rater may see it: no names, no ids of answers, sides as drawn."""
    pending = chat.pending
    texts = {each.id: each.text for each in pending.answers} if pending else {}
    messages = chat.prompt.messages if pending else chat.messages
    return {
        "id": chat.id,
        "mode": chat.mode,
        "turn": chat.turn,
        "outcome": chat.outcome,
        "full": chat.turn >= chats.MOST_TURNS,
        "turns": [{"role": m.role, "who": _(words.WHO[m.role]), "html": to_html(m.content)} for m in messages],
        "waiting": {"key": pending.key, "text": pending.text} if pending and not texts else None,
        "answers": [{"html": to_html(texts[a].strip()), "text": texts[a]} for a in pending.shown_order]
        if pending
        else [],
    }
