"""`assent feedback rank`: what people should judge first, from training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assent.cli.feedback import Store, feedback
from assent.core.console import log, out
from assent.core.errors import DataError


def register(app: typer.Typer) -> None:
    """Add this file's command to `feedback`."""
    feedback.command("rank")(rank)


def rank(
    db: Store,
    scores: Annotated[
        Path, typer.Option("--scores", help='JSON lines of {"group": ID, "disagreement": NUMBER}, 0 or more.')
    ],
) -> None:
    """Put first in the queue what a reward-model ensemble disagrees about most; the whole file or nothing."""
    from assent.feedback.store import Store as Opened
    from assent.feedback.uncertainty import read_disagreement, set_order

    found = read_disagreement(scores)
    with Opened.open(db) as store:
        known = set_order(store, found)
    if not known:
        raise DataError(
            f"none of its {len(found)} groups is in the queue", where=str(scores), fix="check --db and the groups' ids"
        )
    out.print(f"{known} groups in line by disagreement, the largest first", markup=False)
    if known < len(found):
        log.print(f"{len(found) - known} groups of the file are not in the queue", markup=False)
