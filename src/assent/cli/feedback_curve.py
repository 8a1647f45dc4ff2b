"""`assent feedback curve`: how many more judgments, from the reward models of finished runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.feedback import feedback
from assent.core.console import log, out
from assent.core.errors import ArtifactError


def register(app: typer.Typer) -> None:
    """Add this file's command to `feedback`."""
    feedback.command("curve")(curve)


def curve(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Four or more runs, or reward steps, each on about twice the data of the one before.",
        ),
    ],
) -> None:
    """How many more judgments a reward model wants: a learning curve through finished runs, with intervals."""
    from assent.stats.learning_curve import FURTHEST, outlook

    measured = sorted(_point(run) for run in runs)
    found = outlook(measured)
    out.print("rankings  held-out accuracy  pairs")
    for size, accuracy, pairs in measured:
        out.print(f"{size:8.0f}  {accuracy:17.4f}  {pairs:5d}", highlight=False)
    doubled = f"{_percent(found.doubled.estimate)}, {_percent(found.doubled.low)} to {_percent(found.doubled.high)}"
    out.print(f"at twice the {found.largest:,.0f} rankings: {doubled}", highlight=False)
    for row in found.reach:
        span = f"{_count(row.more.low)} to {_count(row.more.high)}"
        known = f"{_count(row.more.estimate)}, {span}" if math.isfinite(row.more.low) else _count(math.inf)
        out.print(f"for {_percent(row.target)}, more rankings: {known}", highlight=False)
    log.print(
        f"intervals of 95 %; beyond the curve: {FURTHEST:g} times the rankings there are, or never. The rows above can "
        "be pasted on the lead's page Quality.",
        style="dim",
    )


def _point(run: Path) -> tuple[float, float, int]:
    """(rankings trained on, held-out accuracy, held-out pairs) of a run's reward model, or of a reward step."""
    from assent.artifacts.store import Store

    if not run.is_dir():
        raise ArtifactError("no such run", where=str(run), fix="give the folder named by --out, like runs/demo")
    one_step = (run / "manifest.json").exists()
    finished = Store(run.parent if one_step else run).finished()
    steps = [m for m in finished if m.kind == "reward" and (not one_step or m.step == run.name)]
    if len(steps) != 1:
        names = ", ".join(m.step for m in steps)
        raise ArtifactError(
            f"holds {len(steps)} finished reward models" + (f": {names}" if names else ""),
            where=str(run),
            fix="give the folder of one reward step" if steps else "train one, with `assent train --method none`",
        )
    found = steps[0].headline
    if not found.get("n"):
        raise ArtifactError("its reward model was measured on no held-out pair", where=str(run))
    return float(found["rankings"]), float(found["accuracy"]), int(found["n"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _count(n: float) -> str:
    return f"{n:,.0f}" if math.isfinite(n) else "beyond the curve"
