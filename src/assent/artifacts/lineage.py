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
    remade: bool = False
    """Made again since the step above read it, with another content: the trace is broken here."""


def trace(store: Store, step: str, content: str | None = None) -> Node:
    """The tree of artifacts behind a finished step; `content` is the hash it had when it was read."""
    manifest = store.manifest(step)
    if manifest is None:
        raise ArtifactError(f"step `{step}` has not finished", where=str(store.folder(step)))
    parents = {name: [trace(store, p.step, p.content) for p in group] for name, group in manifest.parents.items()}
    remade = content is not None and content != manifest.content
    return Node(
        step, manifest.kind, manifest.content, manifest.seconds, manifest.headline, manifest.sources, parents, remade
    )
