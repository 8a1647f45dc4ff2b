"""The model table in the terminal: metrics as rows, models as columns, intervals under the numbers."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from assent.report.data import Metric, ModelTable, Number
from assent.report.wording import around, interval, number, visible

ARROWS = {"high": " ↑", "low": " ↓", None: ""}


def model_table(table: ModelTable, title: str | None = None) -> Table:
    """A rich table of every metric for every model; an arrow says which way is better."""
    drawn = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("")
    for model in table.models:
        drawn.add_column(Text(visible(model)), justify="right")
    drawn.add_column("n", justify="right")
    for metric in table.metrics:
        label = Text(visible(metric.label) + ARROWS[metric.better])
        shared = table.shared_n(metric)
        cells = [_cell(table.number(model, metric), metric, with_n=shared is None) for model in table.models]
        drawn.add_row(label, *cells, "" if shared is None else Text(str(shared), style="dim"))
    return drawn


def model_tables(table: ModelTable, at_most: int = 6) -> list[Table]:
    """The same, `at_most` models side by side: more would leave no room for the numbers.

    A block has no row for what none of its models has.
    """
    names = list(table.models)
    blocks = [names[i : i + at_most] for i in range(0, len(names), at_most)]
    found = []
    for block in blocks:
        metrics = tuple(m for m in table.metrics if any(table.number(name, m) != Number() for name in block))
        part = {name: table.models[name] for name in block}
        found.append(model_table(table.model_copy(update={"metrics": metrics, "models": part})))
    return found


def _cell(shown: Number, metric: Metric, *, with_n: bool) -> Text:
    """`61.2 %` with `55.0 to 67.1 %` under it, where there is an interval."""
    cell = Text(number(shown.value, metric.unit))
    if below := around(shown, metric.unit) if with_n else interval(shown, metric.unit):
        cell.append("\n" + below, style="dim")
    return cell
