"""The command that draws runs together: frontier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assent.core.console import log, out


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(frontier)


def frontier(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs, each with an audit.")],
    folder: Annotated[Path, typer.Option("--out", help="Where picture, page and numbers go.")] = Path("runs/frontier"),
) -> None:
    """Worth against KL of every method in these runs, with intervals and cost: which one to pick."""
    from assent.experiments.frontier import frontier as collect
    from assent.report import frontier as report

    found = collect(runs)
    report.write(folder, found)
    out.print(report.console(found))
    for name in (report.SVG, report.PAGE, report.NUMBERS):
        log.print(str(folder / name), markup=False)
