"""Prompts and answers come in: a file is looked at first, row by row, then put in the queue or forgotten."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from assent.core.errors import DataError
from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt, Rater
from assent.feedback import batch
from assent.feedback.queue import blank
from assent.feedback.records import Kind
from assent.formats import load, shapes
from assent.formats.preferences import records_of
from assent.web import words
from assent.web.auth import Form, Lead
from assent.web.auth import field as form_field
from assent.web.language import gettext as _
from assent.web.language import noted
from assent.web.page import render

router = APIRouter(prefix="/lead/data")
MOST_ANSWERS = 9
KEPT_UPLOADS = 8
PERSONAL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+|(?<![\w.])\+?\d(?:[ ()/-]?\d){8,14}(?![\w.])")
"""An e-mail address, or nine to fifteen digits that look like a telephone number."""
FAULTS = (
    noted("a conversation must hold a user turn right before the answer"),
    noted("a conversation must hold a user turn right before the answer, not one of role {1}"),
    noted("`{1}` is a second system message"),
    noted("`{1}` is a system message after the start"),
    noted("(none)"),
    noted("is no {1}: {2}"),
    noted("{1}: Field required"),
    noted("{1}: Extra inputs are not permitted"),
    noted("{1}: Input should be a valid {2}"),
    noted("Value error, answer id {1} stands twice in the group"),
    noted("Expecting value"),
    noted("Expecting property name enclosed in double quotes"),
    noted("Expecting ',' delimiter"),
    noted("Expecting ':' delimiter"),
    noted("Unterminated string starting at"),
    noted("Extra data"),
)
"""What `formats` puts together of parts, pydantic says of our records, and Python of JSON, as it is found again."""


@dataclass
class Preview:
    """What a file was understood to hold; nothing of it is stored yet."""

    name: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    rows: int = 0
    personal: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    @property
    def kinds(self) -> list[tuple[Kind, list[Group]]]:
        """The groups by the work they ask for."""
        found: dict[Kind, list[Group]] = {"compare": [], "rank": [], "write": []}
        for group in self.groups:
            found[kind_of(group)].append(group)
        return list(found.items())

    @property
    def total(self) -> int:
        """Number of items."""
        return len(self.groups)


class Uploads:
    """Files that were looked at and wait for the word; the newest few, in memory, each for the person who sent it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Preview] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, person: str, preview: Preview) -> None:
        """Remember a file."""
        with self._lock:
            self._kept[person, preview.token] = preview
            while len(self._kept) > KEPT_UPLOADS:
                self._kept.popitem(last=False)

    def take(self, person: str, token: str) -> Preview | None:
        """The file, once."""
        with self._lock:
            return self._kept.pop((person, token), None)


def kind_of(group: Group) -> Kind:
    """Two answers are compared, three to nine ranked; a prompt with less is answered."""
    return "write" if len(group.answers) < 2 else "compare" if len(group.answers) == 2 else "rank"


def preview(path: Path, name: str) -> Preview:
    """Read a file row by row. What cannot be read is named with its row and the reason."""
    found = Preview(name)
    prompts: dict[str, Prompt] = {}
    answers: dict[str, dict[str, Answer]] = {}
    whole: dict[str, Group] = {}
    for where, row in _rows(path, found):
        found.rows += 1
        found.personal += bool(PERSONAL.search(json.dumps(row, ensure_ascii=False, default=str)))
        try:
            item = shapes.parse(row)
            group = _group_of(item)
        except DataError as error:
            found.refused.append((where, error.what))
            continue
        if isinstance(item, Group):
            whole[group.id] = group
            continue
        prompts.setdefault(group.prompt.id, group.prompt)
        texts = answers.setdefault(group.prompt.id, {})
        for answer in group.answers if not isinstance(item, Prompt) else ():
            texts.setdefault(answer.text, answer)
    for prompt, texts in answers.items():
        _add(whole, found, prompts[prompt], list(texts.values()))
    found.groups = list(whole.values())
    return found


def _add(whole: dict[str, Group], found: Preview, prompt: Prompt, answers: list[Answer]) -> None:
    if len(answers) > MOST_ANSWERS:
        found.refused.append(
            (prompt.text[:60], noted(f"{len(answers)} answers to one prompt; {MOST_ANSWERS} are the most"))
        )
        return
    group = Group(prompt=prompt, answers=tuple(answers)) if answers else blank(prompt)
    whole[group.id] = group


def _group_of(item: shapes.Item) -> Group:
    match item:
        case Judgment() | Rater():
            raise DataError("a judgment or a rater; here only prompts and answers come in")
        case Prompt():
            return blank(item)
        case shapes.Pair():
            group, _ = records_of(item)
            if item.chosen.text == item.rejected.text:
                raise DataError("the two answers are the same")
            return group
        case Group():
            if len(item.answers) > MOST_ANSWERS:
                raise DataError(f"{len(item.answers)} answers; {MOST_ANSWERS} are the most a screen can rank")
            return item
        case Demonstration() | shapes.Unpaired():
            return Group(prompt=item.prompt, answers=(item.answer,))


def _rows(path: Path, found: Preview) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows; of JSON lines each stands for itself, of other files one fault refuses what follows."""
    if path.suffix == ".jsonl":
        yield from _lines(path, found)
        return
    try:
        for where, row in load.read(path):
            yield _place(where, path), row
    except DataError as error:
        found.rows += 1
        found.refused.append((_place(error.where or "", path) or noted("file"), error.what))


def _place(where: str, path: Path) -> str:
    """A place within a file, without the name that the file has here; empty where it is the file as a whole."""
    return where.removeprefix(str(path)).lstrip(": ")


def _lines(path: Path, found: Preview) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError):
            found.rows += 1
            found.refused.append((noted(f"line {number}"), noted("not a JSON object")))
            continue
        yield f"line {number}", {name: value for name, value in row.items() if value is not None}


@router.get("")
def data_page(request: Request, person: Lead) -> Response:
    """The form for a file."""
    return render(request, "lead_data.html.j2", preview=None, added="")


@router.post("")
def look(request: Request, person: Lead, form: Form) -> Response:
    """Show what a file was understood to hold."""
    sent = form.get("file")
    if not isinstance(sent, UploadFile) or not sent.filename:
        raise HTTPException(400, "Choose a file first.")
    name = PurePath(sent.filename.replace("\\", "/")).name[:100]
    suffix = PurePath(name).suffix.lower()
    if suffix not in load.KINDS:
        raise HTTPException(400, f"The file must end in one of {', '.join(load.KINDS)}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(sent.file.read())
        found = preview(path, name)
    request.app.state.uploads.keep(person.id, found)
    return render(request, "lead_data.html.j2", preview=found, added="")


@router.post("/add")
def add(request: Request, person: Lead, form: Form) -> Response:
    """Put what was shown in the queue."""
    overlap = form_field(form, "overlap", 3)
    if not overlap.isdecimal() or not 1 <= int(overlap) <= 50:
        raise HTTPException(400, "Judgments per item: a number from 1 to 50.")
    found = request.app.state.uploads.take(person.id, form_field(form, "upload"))
    if found is None:
        raise HTTPException(409, "This file is not here any more. Upload it again.")
    store = request.app.state.store
    batch.add(store, [(group, kind) for kind, groups in found.kinds for group in groups], int(overlap), person.id)
    each = [(len(groups), _(words.TO_DO[kind])) for kind, groups in found.kinds if groups]
    counts = ", ".join(_("{n} to {kind}").format(n=n, kind=kind) for n, kind in each)
    return render(
        request, "lead_data.html.j2", preview=None, added=_("In the queue now: {counts}.").format(counts=counts)
    )
