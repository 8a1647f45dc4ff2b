"""A run folder: `runs/<run>/<step>/{resolved.json, metrics.jsonl, ..., manifest.json}`."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assent.artifacts import manifest as manifests
from assent.artifacts.manifest import Manifest
from assent.core.errors import ArtifactError
from assent.core.hashing import content_id, file_hash, tree_hash
from assent.core.jsonl import write_json

RESOLVED = "resolved.json"
CONTENT = ("weights", "data")
"""Folders of an artifact whose files make its content hash."""


class Store:
    """One run's folder of step folders."""

    def __init__(self, root: Path) -> None:
        for part in (root, *root.parents):
            if part.exists() and not part.is_dir():
                raise ArtifactError(
                    "is a file, but a run needs a folder there", where=str(part), fix="give another --out"
                )
        self.root = root

    def folder(self, step: str) -> Path:
        """Where a step's artifact lies."""
        return self.root / step

    def manifest(self, step: str) -> Manifest | None:
        """The manifest of a finished step."""
        return manifests.read(self.folder(step))

    def finished(self) -> list[Manifest]:
        """Manifests of all finished steps, by time of finishing."""
        found = self.root.glob(f"*/{manifests.FILE}")
        return [m for p in sorted(found, key=lambda p: p.stat().st_mtime) if (m := manifests.read(p.parent))]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out of this run; the lock goes with the process, even when killed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ArtifactError(
                f"cannot be written ({error.strerror})", where=str(self.root), fix="give another --out"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ArtifactError(
                "another process is working in this run", where=str(self.root), fix="wait for it, or give another --out"
            ) from None
        try:
            yield
        finally:
            os.close(handle)

    def begin(self, step: str, key: str, resolved: dict[str, Any]) -> bool:
        """Open a step folder for writing. True: go (afresh or on from a checkpoint); False: already done.

        What another recipe made, finished or up to a checkpoint, is never overwritten.
        """
        folder = self.folder(step)
        if folder.exists() and not folder.is_dir():
            raise ArtifactError(
                "is a file, but the step needs a folder there", where=str(folder), fix="give another --out"
            )
        done = manifests.read(folder)
        if done and done.key == key:
            return False
        started, kept = _started_key(folder), any(folder.rglob("checkpoint.*"))
        if done or (kept and started != key):
            raise ArtifactError(
                f"step `{step}` was made by another recipe, seed or input",
                where=str(folder),
                fix=f"give another --out, or delete {folder} to make it again",
            )
        if not started and _holds_files(folder):
            raise ArtifactError(
                "holds files that no step made, and nothing is overwritten", where=str(folder), fix="give another --out"
            )
        _sweep(folder, kept)
        write_json(folder / RESOLVED, {"key": key, **resolved})
        return True

    def content(self, step: str) -> tuple[str, dict[str, str]]:
        """Content hash of a step's artifact, and the hash of every file in it."""
        folder = self.folder(step)
        files = {
            f"{part}/{name}": digest
            for part in CONTENT
            if (folder / part).is_dir()
            for name, digest in tree_hash(folder / part).items()
        }
        return content_id(files, length=32), files

    def verify(self, step: str) -> None:
        """Refuse an artifact whose files are not those its manifest names."""
        manifest = self.manifest(step)
        if manifest is None:
            raise ArtifactError(f"step `{step}` has not finished", where=str(self.folder(step)))
        for name, digest in manifest.files.items():
            path = self.folder(step) / name
            if not path.is_file() or file_hash(path) != digest:
                raise ArtifactError(
                    "is missing or was changed since the step finished",
                    where=str(path),
                    fix=f"delete {self.folder(step)} to make it again",
                )


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def _sweep(folder: Path, kept: bool) -> None:
    """Remove what a killed step wrote: beside its checkpoint where it has one, all of it otherwise.

    Half an artifact, or a temporary file, would count as content.
    """
    for path in [folder / part for part in CONTENT] if kept else [folder]:
        shutil.rmtree(path, ignore_errors=True)
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _started_key(folder: Path) -> str | None:
    """The key under which an unfinished step began."""
    path = folder / RESOLVED
    try:
        return str(json.loads(path.read_text())["key"]) if path.exists() else None
    except (ValueError, KeyError, TypeError):
        return None
