"""The API for programs, under /api/v1: progress, snapshots, the guideline, judgments out, prompts and groups in.

`Authorization: Bearer TOKEN` acts as the lead who made the token. A token has a scope: `read` opens every GET, `write`
the POST as well. See `auth.py` and `guard.py`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from assent.core.errors import DataError
from assent.core.records import Group, Judgment, Prompt
from assent.feedback import batch, stream
from assent.feedback.errors import BadVerdict
from assent.feedback.queue import blank
from assent.feedback.records import Guideline, Kind, Progress
from assent.formats import native
from assent.web.auth import Lead, Rater, Reviewer

router = APIRouter(prefix="/api/v1")
LONGEST_ID = 200
MOST_OVERLAP = 50
JSONL = "application/jsonl"
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "groups": {"type": "array", "items": {"$ref": "#/components/schemas/Group"}},
                    "prompts": {"type": "array", "items": {"$ref": "#/components/schemas/Prompt"}},
                    "overlap": {"type": "integer", "minimum": 1, "maximum": MOST_OVERLAP, "default": 1},
                },
            }
        }
    },
}


class InForce(BaseModel):
    """The guideline in force; null where there is none yet."""

    guideline: Guideline | None


class Taken(BaseModel):
    """A snapshot that was taken, with its datasheet."""

    name: str
    datasheet: dict[str, Any]


class Added(BaseModel):
    """New items, and those that were in the queue before."""

    added: int
    known: int


async def _body(request: Request) -> bytes:
    return await request.body()


@router.get("/progress")
def progress(request: Request, person: Reviewer) -> Progress:
    """Counts over the queue. For reviewers and leads."""
    found: Progress = request.app.state.store.progress()
    return found


@router.get("/guideline")
def guideline(request: Request, person: Rater) -> InForce:
    """The guideline in force. For everybody."""
    return InForce(guideline=request.app.state.store.guideline())


@router.get("/snapshots")
def snapshots(request: Request, person: Lead) -> list[Taken]:
    """Snapshots and exports on the server, the newest first. For leads."""
    sheets = request.app.state.settings.exports.glob("[!.]*/datasheet.json")
    newest = sorted(sheets, key=lambda sheet: sheet.parent.name, reverse=True)
    return [Taken(name=sheet.parent.name, datasheet=json.loads(sheet.read_text("utf-8"))) for sheet in newest]


@router.get(
    "/judgments",
    response_class=StreamingResponse,
    responses={200: {"content": {JSONL: {"schema": {"$ref": "#/components/schemas/Judgment"}}}}},
)
def judgments(request: Request, person: Lead, acts: str = "standing") -> StreamingResponse:
    """One judgment a line: `standing`, or `all`, the superseded ones too. Raters by id, without names. For leads."""
    if acts not in ("standing", "all"):
        raise HTTPException(400, f"acts is `standing` or `all`, not `{acts[:40]}`")
    store = request.app.state.store
    store.audit(person.id, "judgments read", acts)
    return StreamingResponse(stream.judgments(store, acts == "all"), media_type=JSONL)


@router.post("/groups", openapi_extra={"requestBody": BODY})
def add(request: Request, person: Lead, body: Annotated[bytes, Depends(_body)]) -> Added:
    """Put groups and prompts in the queue, all or none. For leads.

    A group of two answers is compared, of three to nine ranked; to a prompt an answer is written.
    """
    sent = _object(body)
    overlap = sent.get("overlap", 1)
    if type(overlap) is not int or not 1 <= overlap <= MOST_OVERLAP:
        raise HTTPException(400, f"overlap: a whole number from 1 to {MOST_OVERLAP}")
    items = [_item(row, f"groups[{i}]", Group) for i, row in enumerate(sent.get("groups", []))]
    items += [_item(row, f"prompts[{i}]", Prompt) for i, row in enumerate(sent.get("prompts", []))]
    if not items:
        raise HTTPException(400, "there are neither `groups` nor `prompts` in it")

    try:
        new = batch.add(request.app.state.store, items, overlap, person.id)
    except BadVerdict as error:
        raise HTTPException(400, str(error)) from None
    return Added(added=new, known=len(items) - new)


def _object(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    if not isinstance(sent, dict):
        raise HTTPException(400, "the body is an object with `groups`, `prompts` and `overlap`")
    if strange := sorted(sent.keys() - {"groups", "prompts", "overlap"}):
        raise HTTPException(400, f"`{strange[0][:40]}` is no key; they are `groups`, `prompts` and `overlap`")
    for name in ("groups", "prompts"):
        if not isinstance(sent.get(name, []), list):
            raise HTTPException(400, f"{name}: a list")
    return sent


def _item(row: Any, where: str, wanted: type[Group | Prompt]) -> tuple[Group, Kind]:
    """A record and the work it asks for; what is wrong with it is said with its place."""
    try:
        record = native.parse(row) if isinstance(row, dict) else None
    except (DataError, RecursionError) as error:
        raise HTTPException(400, f"{where}: {getattr(error, 'what', 'nested too deeply')}") from None
    if not isinstance(record, (Group, Prompt)) or not isinstance(record, wanted):
        raise HTTPException(400, f"{where}: is no {wanted.__name__.lower()}")
    group = blank(record) if isinstance(record, Prompt) else record
    ids = (group.id, group.prompt.id, *(answer.id for answer in group.answers))
    if not all(0 < len(id) <= LONGEST_ID and id.isprintable() for id in ids):
        raise HTTPException(400, f"{where}: an id has 1 to {LONGEST_ID} visible characters")
    if isinstance(record, Prompt):
        return group, "write"
    if not 2 <= len(record.answers) <= 9:
        raise HTTPException(400, f"{where}: {len(record.answers)} answers; two are compared, three to nine ranked")
    return record, "compare" if len(record.answers) == 2 else "rank"


@router.get("/openapi.json", include_in_schema=False)
def description(request: Request, person: Lead) -> dict[str, Any]:
    """These routes in OpenAPI. For leads."""
    found = get_openapi(title="Assent", version="1", routes=router.routes, description=__doc__)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for record in (Group, Prompt, Judgment):
        schema = record.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[record.__name__] = schema
    scopes = "Scope `read`: every GET; `write`: POST as well."
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": scopes}}
    for path in found["paths"].values():
        for method, operation in path.items():
            operation["security"] = [{"token": ["read" if method == "get" else "write"]}]
    return found
