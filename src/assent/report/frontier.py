"""The frontier: what each method is worth against how far it moved, at what cost. Records, table, page.

Drawn by `report/pictures.py`; filled by `experiments/frontier.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from markupsafe import Markup
from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from assent.core.jsonl import write_atomic
from assent.report import html, pictures
from assent.report.data import Number, Shown, Unit
from assent.report.wording import MISSING, duration, interval, memory, number, visible

SVG, PAGE, NUMBERS = "frontier.svg", "frontier.html", "frontier.json"


class Point(Shown):
    """One method at one setting, over its runs. Seconds are means over runs, memory is the most of any."""

    name: str
    """The model's name in the audits."""
    family: str
    """Method: SFT, best-of-n, DPO, PPO ...; the same family is drawn in one colour and joined by a line."""
    setting: str = ""
    """What sets it apart in its family: `kl_coef 0.05`, `beta 0.1`, `n 16`."""
    kl: Number
    """Nats per answer from the reference."""
    worth: Number
    """Mean score by the judge: gold, or a reward model that is kept from training."""
    win_rate: Number = Number()
    """Against the reference, ties half."""
    worth_by_seed: dict[str, float] = Field(default_factory=dict)
    win_rate_by_seed: dict[str, Number] = Field(default_factory=dict)
    seconds: float | None = None
    """Of the step itself."""
    total_seconds: float | None = None
    """With the steps it needs that the reference does not: rankings, reward model."""
    peak_memory: int | None = None
    """Bytes, of the step itself."""

    @property
    def label(self) -> str:
        """`PPO, kl_coef 0.05`."""
        return f"{self.family}, {self.setting}" if self.setting else self.family


class Frontier(Shown):
    """All points, and what they were measured by."""

    format: Literal[1] = 1
    judge: str
    reference: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def write(folder: Path, found: Frontier) -> None:
    """Write picture, page and numbers, each all or nothing."""
    drawn = pictures.frontier(found.points, found.judge, found.reference)
    write_atomic(folder / SVG, pictures.alone(drawn).encode())
    write_atomic(folder / PAGE, page(found).encode())
    write_atomic(folder / NUMBERS, (found.model_dump_json(indent=2) + "\n").encode())


def page(found: Frontier) -> str:
    """The frontier as one HTML page; equal data give equal text."""
    environment = html.environment()
    head, *rows = rows_of(found)
    return environment.get_template("frontier.html.j2").render(
        data=found,
        css=Markup(html.css(environment)),
        picture=Markup(pictures.frontier(found.points, found.judge, found.reference)),
        head=head,
        rows=rows,
    )


def rows_of(found: Frontier) -> list[list[tuple[str, str]]]:
    """The table, its head first: each cell a value and what stands under it."""
    head = ("method", "KL", found.judge, f"wins against {found.reference}", "seconds", "in all", "memory")
    return [[(name, "") for name in head], *(_row(p) for p in found.points)]


def _row(p: Point) -> list[tuple[str, str]]:
    return [
        (p.label, p.name),
        _cell(p.kl, "score"),
        _cell(p.worth, "score"),
        _cell(p.win_rate, "percent"),
        (duration(p.seconds), ""),
        (duration(p.total_seconds), ""),
        (memory(p.peak_memory), ""),
    ]


def _cell(shown: Number, unit: Unit) -> tuple[str, str]:
    return number(shown.value, unit), interval(shown, unit)


def console(found: Frontier) -> Table:
    """The table in the terminal, intervals under the numbers."""
    head, *rows = rows_of(found)
    drawn = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for i, (name, _) in enumerate(head):
        drawn.add_column(Text(visible(name)), justify="right" if i else "left", no_wrap=not i)
    for row in rows:
        drawn.add_row(*(_two(value, below) for value, below in row))
    return drawn


def _two(value: str, below: str) -> Text:
    cell = Text(visible(value))
    return cell.append("\n" + visible(below), style="dim") if below else cell


def markdown(found: Frontier) -> str:
    """The table for a page of the documentation; the model's name is left out."""
    head, *rows = rows_of(found)
    lines = [[name for name, _ in head], ["---", *["---:"] * (len(head) - 1)]]
    for (label, _), *cells in rows:
        lines.append([label, *(f"{v} ({b})" if b and v != MISSING else v for v, b in cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
