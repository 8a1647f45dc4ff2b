"""The report: one self-contained HTML file, verdicts first, evidence below. No script, no network.

Answers are hostile text: everything is escaped by the template engine, characters that hide or reorder
text are made visible, and the page's own policy forbids scripts, images and requests.
"""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assent.core.jsonl import write_atomic
from assent.report import pipeline, plots, wording
from assent.report.data import Example, Panel, ReportData, RewardModelBlock, Series, without_repeats


def write(path: Path, data: ReportData) -> None:
    """Write the report, all or nothing."""
    write_atomic(path, render(data).encode())


def render(data: ReportData) -> str:
    """The report as one HTML page; equal data give equal text."""
    made = environment()
    panels = _panels(data.curves)
    block = data.reward_model
    return made.get_template("report.html.j2").render(
        data=data,
        lineage=without_repeats(data.lineage),
        css=Markup(css(made)),
        sections=_sections(data, bool(panels)),
        wide=_picture(data, wide=True),
        tall=_picture(data, wide=False),
        panels=panels,
        kinds=_kinds(data.examples),
        reliability=Markup(plots.reliability_diagram(block.bins) or "") if block else Markup(""),
        calibration=_calibration(block) if block else [],
        weights=_weights(block) if block else [],
    )


def environment() -> Environment:
    """Templates of this room: strict, escaping, hidden characters made visible."""
    made = Environment(
        loader=PackageLoader("assent.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(number=wording.number, interval=wording.interval, place=_place)
    return made


def _finalize(value: object) -> object:
    """Every text that enters the page passes here; markup of our own is left as it is."""
    return wording.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def css(made: Environment) -> str:
    """The style sheet of every page."""
    assert made.loader is not None
    return made.loader.get_source(made, "report.css")[0]


def _place(value: float) -> str:
    """A coordinate on a 0..100 track; outside it stands at the end."""
    return f"{min(max(value, -100.0), 100.0):.2f}" if math.isfinite(value) else "0"


def _sections(data: ReportData, curves: bool) -> list[tuple[str, str]]:
    known = [
        ("models", "Models", data.table is not None),
        ("pipeline", "Pipeline", bool(data.pipeline)),
        ("curves", "Curves", curves),
        ("answers", "Answers", bool(data.examples)),
        ("reward-model", "Reward model", data.reward_model is not None),
        ("lineage", "Lineage", bool(data.lineage)),
        ("limits", "Limits", bool(data.notes)),
    ]
    return [(anchor, label) for anchor, label, there in known if there]


def _picture(data: ReportData, *, wide: bool) -> Markup:
    return Markup(pipeline.picture(data.pipeline, wide=wide) or "")


def _panels(curves: tuple[Panel, ...]) -> list[tuple[Panel, Markup, list[str], list[str]]]:
    """(panel, plot, first and last value of each series, colour class of each) of panels that hold data."""
    drawn = []
    for i, panel in enumerate(curves):
        svg = plots.curve(panel, f"curve-{i}")
        if svg is not None:
            ends = [_ends(series, panel) for series in panel.series]
            colours = [f"c{j % len(plots.LINES)}" for j in range(len(panel.series))]
            drawn.append((panel, Markup(svg), ends, colours))
    return drawn


def _ends(series: Series, panel: Panel) -> str:
    known = [y for y in series.ys if y is not None and math.isfinite(y)]
    if not known:
        return wording.MISSING
    return f"{wording.number(known[0], panel.unit)} → {wording.number(known[-1], panel.unit)}"


def _kinds(examples: tuple[Example, ...]) -> dict[str, list[Example]]:
    """Examples by kind, kinds in order of first appearance."""
    kinds: dict[str, list[Example]] = {}
    for example in examples:
        kinds.setdefault(example.kind, []).append(example)
    return kinds


def _calibration(block: RewardModelBlock) -> list[tuple[str, float | None, str]]:
    perfect = f"a perfect model would show {wording.number(block.perfect_ece)} on as many pairs"
    rows = [
        ("Calibration error (ECE)", block.ece, perfect if block.perfect_ece is not None else "0 is perfect"),
        ("Brier score", block.brier, "0 is perfect, 0.25 is a coin"),
        ("Best temperature", block.temperature, "above 1: too sure of itself"),
    ]
    return [row for row in rows if row[1] is not None]


def _weights(block: RewardModelBlock) -> list[tuple[str, float, float]]:
    """(feature, weight, bar length up to 50) of the surface floor, largest first."""
    weights = block.floor_weights
    most = max((abs(weight) for weight in weights.values()), default=0.0) or 1.0
    ranked = sorted(weights.items(), key=lambda item: -abs(item[1]))
    return [(name.replace("_", " "), weight, 50 * abs(weight) / most) for name, weight in ranked]
