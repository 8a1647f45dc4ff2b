"""The one console: progress and plans go to stderr, results to stdout."""

from __future__ import annotations

from rich.console import Console

# No emoji: a path or an answer that holds `:on:` is shown as it is.
log = Console(stderr=True, highlight=False, emoji=False)
out = Console(highlight=False, emoji=False)
