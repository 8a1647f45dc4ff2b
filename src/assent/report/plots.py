"""Plots as inline SVG: text stays text, colours are the page's variables, equal data give equal bytes.

Matplotlib draws in stand-in colours that are afterwards replaced by CSS variables, so that one picture
is readable in light and in dark. Element names carry a hash of the plot's name: several plots share a page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from assent.report.data import Panel, Series
from assent.report.wording import visible
from assent.stats.calibration import Bin

INK, MUTED, RULE, PAPER = "#010203", "#010204", "#010205", "#010206"
LINES = ("#010207", "#010208", "#010209", "#01020a", "#01020b", "#01020c")
"""Stand-ins; the page defines the variables, each with a light and a dark value."""
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    **{colour: f"--line-{i}" for i, colour in enumerate(LINES)},
}

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "path.simplify": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
}


def curve(panel: Panel, name: str) -> str | None:
    """A small line plot of a panel over steps as an <svg> element; None where no point is finite.

    Parameters: `name`, unique on the page.
    """
    lines = [(series, finite(series)) for series in panel.series]
    if not any(xs for _, (xs, _) in lines):
        return None
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, axes = quiet_axes(3.3, 1.75)
        for i, (_, (xs, ys)) in enumerate(lines):
            marker = "o" if sum(math.isfinite(y) for y in ys) == 1 else None
            axes.plot(xs, ys, color=LINES[i % len(LINES)], linewidth=1.6, marker=marker, markersize=3.5)
        low, high = axes.get_ylim()
        if low < 0 < high:
            axes.axhline(0, color=MUTED, linewidth=0.7, zorder=0)
        if panel.unit == "percent":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        return element(figure, f"{panel.title} over training steps")


def reliability_diagram(bins: Sequence[Bin], name: str = "calibration") -> str | None:
    """Predicted chance against observed share, the diagonal being perfect; None without bins."""
    if not bins:
        return None
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, axes = quiet_axes(3.3, 3.0)
        low = min(0.5, *(min(row.predicted, row.observed) for row in bins))
        axes.plot([low, 1], [low, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        xs, ys = [row.predicted for row in bins], [row.observed for row in bins]
        most = max(row.n for row in bins)
        axes.plot(xs, ys, color=LINES[0], linewidth=1.2)
        sizes = [12 + 44 * row.n / most for row in bins]
        axes.scatter(xs, ys, s=sizes, color=LINES[0], edgecolor=PAPER, zorder=3)
        axes.set_xlabel("predicted chance that the favourite wins", color=MUTED)
        axes.set_ylabel("share of pairs it really won", color=MUTED)
        percent = FuncFormatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_aspect("equal")
        for axis in (axes.xaxis, axes.yaxis):  # more than six of these labels touch
            axis.set_major_locator(MultipleLocator(0.1 if low >= 0.5 else 0.2))
        axes.xaxis.set_major_formatter(percent)
        axes.yaxis.set_major_formatter(percent)
        return element(figure, "Calibration of the reward model: predicted chance against observed share")


def finite(series: Series) -> tuple[list[float], list[float]]:
    """Points of a series with NaN for gaps; empty lists where nothing is finite."""
    ys = [math.nan if y is None or not math.isfinite(y) else y for y in series.ys]
    if all(math.isnan(y) for y in ys):
        return [], []
    return list(series.xs), ys


def quiet_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Empty axes of a figure of that size in inches, quiet: two spines, a faint grid."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, axes_of(figure, 1)[0]


def axes_of(figure: Figure, columns: int) -> list[Axes]:
    """Quiet axes side by side in a figure."""
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    made = [figure.add_subplot(1, columns, 1 + i) for i in range(columns)]
    for axes in made:
        axes.patch.set_visible(False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(RULE)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, length=0, pad=4)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    return made


def element(figure: Figure, label: str) -> str:
    """The figure as an <svg> element for a page: no prologue, no metadata, no foreign style."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;?\s*", "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None
    head = (
        f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(visible(label))}" class="plot" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + text[text.index(">") + 1 :].strip() + "\n"
