"""`assent feedback retain`: traces of people go after so many days."""

from __future__ import annotations

from typing import Annotated

import typer

from assent.cli.feedback import Store, feedback
from assent.core.console import log, out


def register(app: typer.Typer) -> None:
    """Add this file's command to `feedback`."""
    feedback.command("retain")(retain)


def retain(
    db: Store,
    days: Annotated[int, typer.Option(min=1, help="Days to keep what nobody needs any more.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Take away old notes, chats, closed accounts' names, and ended sessions, tokens and links; votes stay."""
    from assent.feedback.retention import retain as end
    from assent.feedback.store import Store as Opened

    with Opened.open(db) as store:
        ended = end(store, days, dry_run)
    lines = {
        "notes on judgments": ended.notes,
        "chats": ended.chats,
        "closed accounts": ended.accounts,
        "ended sessions, tokens, links and failed sign-ins": ended.signs,
    }
    for what, count in lines.items():
        out.print(f"{what}: {count}", markup=False)
    done = "nothing was changed" if dry_run else "exports and backups made before hold what they held"
    log.print(done, markup=False)
