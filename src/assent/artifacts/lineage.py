"""From a model back to the judgments, raters and guideline versions that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from assent.artifacts.store import Store
from assent.core.errors import ArtifactError


@dataclass(frozen=True)
class Node:
    """One artifact in a lineage, and what it was made from."""

    step: str
    kind: str
    content: str
    seconds: float
    headline: dict[str, Any]
    sources: dict[str, str]
    parents: dict[str, list[Node]] = field(default_factory=dict)


def trace(store: Store, step: str) -> Node:
    """The tree of artifacts behind a finished step."""
    manifest = store.manifest(step)
    if manifest is None:
        raise ArtifactError(f"step `{step}` has not finished", where=str(store.folder(step)))
    parents = {name: [trace(store, p.step) for p in group] for name, group in manifest.parents.items()}
    return Node(step, manifest.kind, manifest.content, manifest.seconds, manifest.headline, manifest.sources, parents)
