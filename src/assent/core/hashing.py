"""Content hashes: record ids, file hashes, and the train / held-out split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content_id(*parts: Any, length: int = 16) -> str:
    """Hex id derived from JSON-able `parts`; equal content gives an equal id on every machine."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def hash_int(*parts: Any) -> int:
    """63-bit non-negative integer derived from `parts` (fits an int64 tensor)."""
    return int(content_id(*parts), 16) >> 1


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_hash(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under `folder`, by relative path, sorted."""
    return {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def is_held_out(key: str, share: float) -> bool:
    """Whether the subject or prompt named `key` is held out: a hash of the key alone decides.

    Parameters: `share`, the fraction held out, 0..1.
    """
    return hash_int("held-out", key) < share * 2**63
