"""The manifest: written last and atomically, so that a folder with one is complete."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import assent
from assent.core.errors import ArtifactError
from assent.core.hashing import content_id
from assent.core.jsonl import describe, write_json

FILE = "manifest.json"
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "safetensors")


class Parent(BaseModel):
    """One artifact that was read: the step's name and the content hash it had."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    step: str
    content: str


class Manifest(BaseModel):
    """What a finished step is, and what it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    step: str
    kind: str
    key: str
    """Reuse key: hash of kind, resolved configuration, parents' contents, sources, seed, format."""
    content: str
    """Hash of the files below; wall-clock figures are in none of them."""
    parents: dict[str, list[Parent]] = {}
    sources: dict[str, str] = {}
    """Files, folders or hub ids from outside the run -> content hash or revision."""
    seed: int
    seconds: float
    peak_memory: int | None = None
    """Most bytes held while it ran: resident, or by tensors on a GPU; null where the system does not tell."""
    headline: dict[str, Any] = {}
    files: dict[str, str] = {}
    environment: dict[str, Any] = {}


def reuse_key(
    kind: str, config: dict[str, Any], parents: dict[str, list[Parent]], sources: dict[str, str], seed: int
) -> str:
    """A step whose key is unchanged need not run again."""
    contents = {name: [p.content for p in group] for name, group in parents.items()}
    return content_id(1, kind, config, contents, sorted(sources.values()), seed, length=32)


def read(folder: Path) -> Manifest | None:
    """The manifest of a step folder; None where the step did not finish."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        why = describe(error) if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(
            f"damaged manifest ({why})", where=str(path), fix="delete the step's folder to make it again"
        ) from None


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, all or nothing."""
    write_json(folder / FILE, manifest.model_dump(mode="json"))


def environment() -> dict[str, Any]:
    """Code revision, package versions, machine: what else decides the bits of a run."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "assent": assent.__version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }


def _revision() -> str | None:
    """The git commit of this code, with `+` when the tree is changed; None outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "-C", here, "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() or None if head.returncode == 0 else None
