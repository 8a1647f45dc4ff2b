"""Pictures that stand by themselves in a page of the documentation: the frontier, and gold turning over."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator, FuncFormatter

from assent.report.data import Number, Shown
from assent.report.plots import INK, LINES, MUTED, STYLE, axes_of, element, quiet_axes

LOOKS = {
    "SFT": (INK, "o"),
    "best-of-n": (MUTED, "o"),
    "PPO": (LINES[0], "o"),
    "GRPO": (LINES[1], "s"),
    "GRPO, scale none": (LINES[1], "X"),
    "RLOO": (LINES[2], "D"),
    "DPO": (LINES[3], "^"),
    "IPO": (LINES[3], "P"),
    "online DPO": (LINES[4], "v"),
    "soft online DPO": (LINES[4], "*"),
}
"""Family -> colour and marker; any other takes the last colour and a marker of its own."""
OTHERS = "<>phX"
WHOLE = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
"""Ticks of the KL axis, in nats."""


class Drawn(Protocol):
    """What the frontier's picture needs of a point."""

    @property
    def family(self) -> str:
        """The method."""
        ...

    @property
    def setting(self) -> str:
        """What sets it apart in its family."""
        ...

    @property
    def kl(self) -> Number:
        """Nats."""
        ...

    @property
    def worth(self) -> Number:
        """By the judge."""
        ...


class Arm(Shown):
    """One policy's training: proxy and gold by iteration, a curve a seed."""

    name: str
    proxy: tuple[tuple[float, ...], ...]
    gold: tuple[tuple[float, ...], ...]


def frontier(points: Sequence[Drawn], judge: str, reference: str) -> str:
    """Worth against KL (on a square-root axis) with intervals, a colour a family, as an <svg> element."""
    shown = [p for p in points if _known(p.kl) and _known(p.worth)]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "frontier"}):
        figure, axes = quiet_axes(6.6, 4.0)
        _square_root(axes, max((p.kl.value or 0.0 for p in shown), default=1.0))
        others = iter(OTHERS * 9)
        for family in dict.fromkeys(p.family for p in shown):
            colour, marker = LOOKS.get(family) or (LINES[5], next(others))
            _family(axes, family, [p for p in shown if p.family == family], colour, marker)
        _write_beside(axes, shown)
        axes.set_xlabel(f"KL to {reference}, nats per answer (square-root axis)", color=MUTED)
        axes.set_ylabel(f"{judge}, held-out prompts", color=MUTED)
        if shown:
            _colour(axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.6))
        return element(figure, f"{judge} against KL to {reference}, by method")


def _colour(legend: Legend) -> None:
    for text in legend.get_texts():
        text.set_color(INK)


def _known(shown: Number) -> bool:
    return shown.value is not None and math.isfinite(shown.value)


def _square_root(axes: Axes, most: float) -> None:
    most = 1.15 * max(most, 0.25)
    # Below 0 the axis is mirrored: the reference stands at 0, and its marker needs room on both sides.
    axes.set_xscale(
        "function", functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    )
    axes.set_xlim(-0.0004 * most, most)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in WHOLE if tick <= most]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _family(axes: Axes, family: str, points: Sequence[Drawn], colour: str, marker: str) -> None:
    ordered = sorted(points, key=lambda p: p.kl.value or 0.0)
    xs, ys = [float(p.kl.value or 0.0) for p in ordered], [float(p.worth.value or 0.0) for p in ordered]
    for p, x, y in zip(ordered, xs, ys, strict=True):
        if p.worth.low is not None and p.worth.high is not None:
            axes.plot([x, x], [p.worth.low, p.worth.high], color=colour, linewidth=0.9)
        if p.kl.low is not None and p.kl.high is not None:
            axes.plot([max(p.kl.low, 0.0), p.kl.high], [y, y], color=colour, linewidth=0.9)
    dial = ordered[0].setting.rpartition(" ")[0]
    label = f"{family} ({dial})" if dial else family
    axes.plot(xs, ys, color=colour, linewidth=1.3, marker=marker, markersize=4.5, label=label, zorder=3)


def _write_beside(axes: Axes, points: Sequence[Drawn]) -> None:
    """Each point's setting beside it, without the setting's name; one that would cover another steps down."""
    taken: list[tuple[float, float]] = []
    place = axes.transData.transform
    axes.figure.canvas.draw()
    for p in sorted(points, key=lambda p: -(p.worth.value or 0.0)):
        text = p.setting.rpartition(" ")[2]
        if not text:
            continue
        x, y = place((p.kl.value or 0.0, p.worth.value or 0.0))
        down = -8.0  # lines mostly rise to the right
        while any(abs(x - a) < 22 and abs(y + down - b) < 8 for a, b in taken):
            down -= 4.0
        taken.append((x, y + down))
        axes.annotate(
            text,
            (float(p.kl.value or 0.0), float(p.worth.value or 0.0)),
            xytext=(5, down),
            textcoords="offset points",
            fontsize=6.5,
            color=MUTED,
        )


def turnover(arms: Sequence[Arm]) -> str:
    """Proxy and gold over the iterations of each arm, as an <svg> element: the mean over seeds, each seed faint."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "turnover"}):
        figure = Figure(figsize=(6.9, 2.9), layout="constrained")
        left, right = axes_of(figure, 2)
        for panel, name in ((left, "proxy"), (right, "gold")):
            for i, arm in enumerate(arms):
                _arm(panel, arm.name, arm.proxy if name == "proxy" else arm.gold, LINES[i % len(LINES)])
            panel.set_xlabel("iteration", color=MUTED)
        left.set_title("proxy: the reward that is maximised", color=INK, loc="left", fontsize=8.5)
        right.set_title("gold: what it is worth", color=INK, loc="left", fontsize=8.5)
        handles, names = left.get_legend_handles_labels()
        _colour(figure.legend(handles, names, frameon=False, ncols=len(arms), loc="outside lower left"))
        return element(figure, "Proxy and gold over training, by arm")


def _arm(axes: Axes, name: str, curves: Sequence[Sequence[float]], colour: str) -> None:
    xs = range(1, len(curves[0]) + 1)
    for curve in curves if len(curves) > 1 else ():
        axes.plot(xs, curve, color=colour, linewidth=0.5, alpha=0.35)
    axes.plot(xs, np.mean(np.asarray(curves), axis=0), color=colour, linewidth=1.8, label=name)


def alone(svg: str) -> str:
    """An <svg> element as a file of its own: with the colours' values, light and dark, a ground, and a size."""
    sheet = files("assent.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    roots = re.findall(
        r"^(:root \{.*?^\}|@media \(prefers-color-scheme: dark\) \{.*?^\})", sheet, re.DOTALL | re.MULTILINE
    )
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert roots and view
    style = "\n".join([*roots, "text { font-family: system-ui, sans-serif }"])
    width, height = (f"{1.35 * float(side):.0f}" for side in view.groups())
    ground = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    opening = svg[: svg.index(">") + 1].replace("<svg ", f'<svg width="{width}" height="{height}" ', 1)
    return f"{opening}<style>{style}</style>{ground}{svg[svg.index('>') + 1 :]}"
