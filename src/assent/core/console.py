"""The one console: progress and plans go to stderr, results to stdout."""

from __future__ import annotations

from rich.console import Console

log = Console(stderr=True, highlight=False)
out = Console(highlight=False)
