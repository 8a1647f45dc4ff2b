"""Snapshots, frozen folders that a run reads; exports, built from choices that are looked at first; both as a zip."""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse, Response

from assent.core.errors import AssentError
from assent.feedback.export import everything, export
from assent.feedback.export_preview import Preview, preview
from assent.feedback.records import rater_id
from assent.web import builder
from assent.web.auth import Form, Lead, field
from assent.web.language import said
from assent.web.page import render

router = APIRouter(prefix="/lead/export")
NAME = re.compile(r"(snapshot|export)-\d{8}-\d{6}(-\d+)?")
COUNTED = ("groups", "standing", "demonstrations")
LONGEST_QUERY = 50_000
_ONE_AT_A_TIME = Lock()
"""Two exports at the same moment would want the same folder."""


@dataclass(frozen=True)
class Snapshot:
    """One folder and the number of its groups, judgments and demonstrations."""

    name: str
    folder: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Exported:
    """One folder, what its datasheet calls it, and the rows of its files."""

    name: str
    folder: str
    title: str
    shape: str
    files: dict[str, int]


def _sheets(root: Path, kind: str) -> list[tuple[Path, dict[str, Any]]]:
    """Finished folders with their datasheets, the newest first; the datasheet is written last."""
    found = [each for each in sorted(root.glob(f"{kind}-*"), reverse=True) if NAME.fullmatch(each.name)]
    sheets = [(each, each / "datasheet.json") for each in found]
    return [(each, json.loads(sheet.read_text(encoding="utf-8"))) for each, sheet in sheets if sheet.is_file()]


def _snapshots(root: Path) -> list[Snapshot]:
    found = _sheets(root, "snapshot")
    return [Snapshot(at.name, str(at), tuple(sheet["counts"][each] for each in COUNTED)) for at, sheet in found]


def _exports(root: Path) -> list[Exported]:
    return [
        Exported(
            at.name, str(at), sheet["name"], sheet["shape"], {each["name"]: each["rows"] for each in sheet["files"]}
        )
        for at, sheet in _sheets(root, "export")
    ]


@router.get("")
def export_page(request: Request, person: Lead) -> Response:
    """What was exported, and what to choose; where something is chosen, what would come of it."""
    return _page(request, request.query_params)


def _page(request: Request, typed: QueryParams, problem: str = "") -> Response:
    root, store = request.app.state.settings.exports, request.app.state.store
    shown: Preview | None = None
    command = ""
    if "shape" in typed and not problem:
        try:
            chosen = builder.options(typed, name="")
            shown = preview(everything(store), chosen)
            command = shlex.join(chosen.arguments())
        except AssentError as error:
            problem = said(error.what)
    there = request.app.state.figures.of(builder.choices)
    names = {rater_id(each.id): each.name for each in store.people()}
    return render(
        request,
        "lead_export.html.j2",
        400 if problem else 200,
        snapshots=_snapshots(root),
        exports=_exports(root),
        made=typed.get("made", ""),
        typed=typed,
        chosen=str(typed),
        there=there,
        raters=sorted(
            ((id, names.get(id, id), n) for id, n in there.raters.items()), key=lambda each: each[1].casefold()
        ),
        builder=builder,
        preview=shown,
        command=command,
        problem=problem,
    )


@router.post("/build")
def build(request: Request, person: Lead, form: Form) -> Response:
    """Write the export that was looked at, of what stands now."""
    root, store = request.app.state.settings.exports, request.app.state.store
    typed = QueryParams(field(form, "choices", LONGEST_QUERY))
    with _ONE_AT_A_TIME:
        folder = _free(root, f"export-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        try:
            export(everything(store), folder, builder.options(typed, folder.name))
        except AssentError as error:
            return _page(request, typed, said(error.what))
    store.audit(person.id, "export", folder.name)
    return RedirectResponse(f"/lead/export?made={folder.name}", 303)


def _free(root: Path, name: str) -> Path:
    """A folder of this name, or the next one that is not there."""
    folder, n = root / name, 1
    while folder.exists():
        n += 1
        folder = root / f"{name}-{n}"
    return folder


@router.post("")
def take(request: Request, person: Lead) -> Response:
    """Take a snapshot of what stands now."""
    root: Path = request.app.state.settings.exports
    base = root / f"snapshot-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder, n = base, 1
    while not _is_ours(folder):
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    store = request.app.state.store
    store.snapshot(folder)
    store.audit(person.id, "export", folder.name)
    return RedirectResponse("/lead/export", 303)


def _is_ours(folder: Path) -> bool:
    """Make the folder; False where it is there already, perhaps of somebody who asked at the same moment."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


@router.get("/{name}.zip")
def download(request: Request, person: Lead, name: str) -> Response:
    """A finished snapshot or export as one file."""
    folder = request.app.state.settings.exports / name
    if not NAME.fullmatch(name) or not (folder / "datasheet.json").is_file():
        raise HTTPException(404)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{name}/{file.relative_to(folder)}")
    request.app.state.store.audit(person.id, "download", name)
    return Response(packed.getvalue(), media_type="application/zip")
