"""The quiz and the check items: the lead makes them, sees how they go, and lets people try the quiz again."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import RedirectResponse, Response

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.feedback import gold, gold_rows, takers
from assent.feedback.store import Store
from assent.formats import load
from assent.web.auth import Form, Lead, field
from assent.web.language import gettext as _
from assent.web.language import said
from assent.web.markdown import to_html
from assent.web.page import render

router = APIRouter(prefix="/lead/gold")
LETTERS = "ABCDEFGHI"


def letters(tiers: gold.Tiers, group: Group) -> str:
    """Tiers by the letters of the group's own order: `A > B = C`."""
    letter = {answer.id: LETTERS[k] for k, answer in enumerate(group.answers[: len(LETTERS)])}
    return " > ".join(" = ".join(sorted(letter.get(a, "?") for a in tier)) for tier in tiers)


def told(store: Store, judgment: Judgment) -> dict[str, Any]:
    """What the answer to `/api/submit` says of a check item; nothing for any other."""
    found = gold.explained(store, judgment)
    if found is None:
        return {}
    known = " > ".join(" = ".join(LETTERS[place] for place in tier) for tier in found.known)
    said = {"right": found.right, "quiz": found.quiz, "known": found.known, "order": known}
    return {"explained": {**said, "html": to_html(found.text)}}


@router.get("")
def gold_page(request: Request, person: Lead) -> Response:
    """Every check item and everybody's quiz."""
    return _page(request)


def _page(request: Request, status: int = 200, problem: str = "", added: int | None = None) -> Response:
    store = request.app.state.store
    return render(
        request,
        "lead_gold.html.j2",
        status,
        items=gold.overview(store),
        takers=takers.takers(store),
        rules=store.queue(),
        letters=letters,
        problem=problem,
        added=added,
    )


@router.get("/pick")
def pick(request: Request, person: Lead, words: str = "") -> Response:
    """Items of the queue that could become check items."""
    found = gold.candidates(request.app.state.store, words[:200])
    return render(request, "lead_gold_pick.html.j2", found=found, words=words[:200])


@router.get("/item")
def item_page(request: Request, person: Lead, item: str = "") -> Response:
    """One item: the form for what is known of it, or what is known."""
    number = _number(item)
    part, known = gold.item(request.app.state.store, number)
    return render(
        request,
        "lead_gold_item.html.j2",
        number=number,
        part=part,
        known=known,
        order=letters(known.tiers, known.group),
        letters=LETTERS,
        most=gold.MOST_CHARACTERS,
    )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise HTTPException(404, "There is no such page.")
    return int(text)


@router.post("/item")
def make(request: Request, person: Lead, form: Form) -> Response:
    """Make an item of the queue a check item."""
    store = request.app.state.store
    _, item = gold.item(store, _number(field(form, "item", 9)))
    told = field(form, "explanation", 2 * gold.MOST_CHARACTERS).replace("\r\n", "\n")
    known = gold.Known(item.group, _tiers(form, item.group), told)
    gold.add(store, [known], field(form, "part") == "quiz", person)
    return RedirectResponse("/lead/gold", 303)


def _tiers(form: FormData, group: Group) -> gold.Tiers:
    """The known tiers from the place given to each answer; equal places tie."""
    tiers: dict[int, list[str]] = {}
    for k, answer in enumerate(group.answers):
        place = field(form, f"place{k}", 1)
        if place not in "123456789" or not place:
            raise HTTPException(400, f"Answer {LETTERS[k]} has no place: give each answer one, 1 for the best.")
        tiers.setdefault(int(place), []).append(answer.id)
    return tuple(tuple(tiers[place]) for place in sorted(tiers))


@router.post("/change")
def change(request: Request, person: Lead, form: Form) -> Response:
    """Another explanation, or no more of an item."""
    store, number = request.app.state.store, _number(field(form, "item", 9))
    if field(form, "action") == "retire":
        gold.retire(store, number, person)
    else:
        told = field(form, "explanation", 2 * gold.MOST_CHARACTERS).replace("\r\n", "\n")
        gold.explain_as(store, number, told, person)
    return RedirectResponse("/lead/gold", 303)


@router.post("/upload")
def upload(request: Request, person: Lead, form: Form) -> Response:
    """Check items from a file, all or none."""
    sent = form.get("file")
    if not isinstance(sent, UploadFile) or not sent.filename:
        raise HTTPException(400, "Choose a file first.")
    suffix = PurePath(sent.filename.replace("\\", "/")).suffix.lower()
    if suffix not in load.KINDS:
        raise HTTPException(400, f"The file must end in one of {', '.join(load.KINDS)}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(sent.file.read())
        try:
            found = gold_rows.read(path)
        except DataError as error:
            place = str(error.where or path).replace(str(path), _("the file"))
            problem = _("Nothing was taken over. {place}: {what}.").format(place=place, what=said(error.what))
            return _page(request, 400, problem)
    added = gold.add(request.app.state.store, found, field(form, "part") == "quiz", person)
    return _page(request, added=added)


@router.post("/try")
def another_try(request: Request, person: Lead, form: Form) -> Response:
    """Let somebody who failed the quiz take it once more."""
    takers.allow_try(request.app.state.store, field(form, "person"), person)
    return RedirectResponse("/lead/gold", 303)
