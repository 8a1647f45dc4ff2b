"""Snapshots: frozen folders that a run reads, and the same as a zip."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from assent.web.auth import Lead
from assent.web.page import render

router = APIRouter(prefix="/lead/export")
NAME = re.compile(r"snapshot-\d{8}-\d{6}(-\d+)?")
COUNTED = ("groups", "standing", "demonstrations")


@dataclass(frozen=True)
class Snapshot:
    """One folder and the number of its groups, judgments and demonstrations."""

    name: str
    folder: str
    counts: tuple[int, ...]


def _all(root: Path) -> list[Snapshot]:
    """Finished snapshots, the newest first; the datasheet is written last."""
    found = []
    for folder in sorted(root.glob("snapshot-*"), reverse=True):
        sheet = folder / "datasheet.json"
        if NAME.fullmatch(folder.name) and sheet.is_file():
            counts = json.loads(sheet.read_text(encoding="utf-8"))["counts"]
            found.append(Snapshot(folder.name, str(folder), tuple(counts[each] for each in COUNTED)))
    return found


@router.get("")
def export_page(request: Request, person: Lead) -> Response:
    """The snapshots that were taken."""
    return render(request, "lead_export.html.j2", snapshots=_all(request.app.state.settings.exports))


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
    """A finished snapshot as one file."""
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
