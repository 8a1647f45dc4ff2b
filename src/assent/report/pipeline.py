"""The pipeline as a picture: boxes and arrows, drawn as a small SVG of our own.

Layered drawing (Sugiyama et al. 1981): a step stands one layer after its last parent, an edge that
skips layers gets a way point in each, and layers are sorted by the mean place of their neighbours so that
few edges cross. Drawn left to right for wide screens and top to bottom for narrow ones.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression

from assent.core.errors import DataError
from assent.report.data import PipelineNode
from assent.report.wording import duration, visible

BOX_WIDTH, BOX_HEIGHT = 152, 84
LAYER_GAP, ROW_GAP, WAY_SIZE, MARGIN = 30, 14, 8, 2
HEADLINE_LETTERS, NAME_LETTERS = 21, 15
SWEEPS = 12
WAY_WEIGHT = 8.0
"""How much more a way point insists on a straight line than a box on the middle of its neighbours."""


@dataclass(frozen=True)
class Place:
    """Centre of a box or of a way point."""

    x: float
    y: float


def picture(nodes: Sequence[PipelineNode], *, wide: bool) -> str | None:
    """The pipeline as an <svg> element; None without nodes. Parents that are not drawn are left out.

    Parameters: `wide`, left to right instead of top to bottom.
    """
    if not nodes:
        return None
    chains, layers = _layout(nodes)
    turn = "wide" if wide else "tall"
    places, width, height = _places(layers, chains, {node.name for node in nodes}, wide)
    label = escape("Pipeline: " + visible(", then ".join(node.name for node in nodes)))
    marker = (
        f'<marker id="arrow-{turn}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0.6 8 4 0 7.4z" class="head"/></marker>'
    )
    edges = [_edge([places[point] for point in chain], wide) for chain in chains]
    boxes = [_box(node, places[node.name]) for node in nodes]
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return (
        f'<svg {size} role="img" aria-label="{label}" class="pipeline {turn}" '
        'xmlns="http://www.w3.org/2000/svg">'
        f"<defs>{marker}</defs>{''.join(edges)}{''.join(boxes)}</svg>\n"
    )


def _layout(nodes: Sequence[PipelineNode]) -> tuple[list[list[str]], list[list[str]]]:
    """(edges as chains of points from parent to child, points of each layer in drawing order)."""
    depth = _depths(nodes)
    layers: list[list[str]] = [[] for _ in range(1 + max(depth.values()))]
    for node in nodes:
        layers[depth[node.name]].append(node.name)
    chains = []
    for node in nodes:
        for parent in dict.fromkeys(node.parents):
            if parent not in depth:
                continue
            ways = [f"{parent}\0{node.name}\0{layer}" for layer in range(depth[parent] + 1, depth[node.name])]
            for layer, way in enumerate(ways, depth[parent] + 1):
                layers[layer].append(way)
            chains.append([parent, *ways, node.name])
    _sort(layers, chains)
    return chains, layers


def _depths(nodes: Sequence[PipelineNode]) -> dict[str, int]:
    """Layer of each node: one after its deepest parent. A circle raises DataError."""
    known = {node.name: node for node in nodes}
    depth: dict[str, int] = {}
    while len(depth) < len(known):
        before = len(depth)
        for node in known.values():
            parents = [parent for parent in node.parents if parent in known]
            if node.name not in depth and all(parent in depth for parent in parents):
                depth[node.name] = 1 + max((depth[parent] for parent in parents), default=-1)
        if len(depth) == before:
            circle = ", ".join(name for name in known if name not in depth)
            raise DataError(f"the pipeline runs in a circle: {circle}", fix="a step cannot come from itself")
    return depth


def _sort(layers: list[list[str]], chains: list[list[str]]) -> None:
    """Order every layer by the mean place of its neighbours, forwards and backwards in turn."""
    before = _neighbours(chains, forwards=True)
    after = _neighbours(chains, forwards=False)
    for sweep in range(SWEEPS):
        forwards = sweep % 2 == 0
        for layer in layers if forwards else reversed(layers):
            place = {point: i / max(len(row) - 1, 1) for row in layers for i, point in enumerate(row)}
            mean = {point: _mean(point, place, before if forwards else after) for point in layer}
            layer.sort(key=mean.__getitem__)


def _neighbours(chains: list[list[str]], *, forwards: bool) -> dict[str, list[str]]:
    """Points directly before (`forwards`) or after each point."""
    near: dict[str, list[str]] = {}
    for chain in chains:
        for a, b in pairwise(chain if forwards else chain[::-1]):
            near.setdefault(b, []).append(a)
    return near


def _mean(point: str, place: dict[str, float], near: dict[str, list[str]]) -> float:
    around = near.get(point, [point])
    return sum(place[other] for other in around) / len(around)


def _cross(layers: list[list[str]], chains: list[list[str]], extent: dict[str, float]) -> dict[str, float]:
    """Middle of every point across the flow: as near to its neighbours as order and distance allow.

    Each layer is a least-squares problem with minimal distances: isotonic regression of the wished
    places, less the distances up to each point.
    """
    before, after = _neighbours(chains, forwards=True), _neighbours(chains, forwards=False)
    near = {point: before.get(point, []) + after.get(point, []) or [point] for point in extent}
    steps = {}
    for i, layer in enumerate(layers):
        gaps = [(extent[a] + extent[b]) / 2 + ROW_GAP for a, b in pairwise(layer)]
        steps[i] = np.concatenate([[0.0], np.cumsum(gaps)])
    place = {
        point: float(step - steps[i][-1] / 2)
        for i, layer in enumerate(layers)
        for point, step in zip(layer, steps[i], strict=True)
    }
    for _ in range(SWEEPS):
        for i, layer in enumerate(layers):
            wished = np.array([_mean(point, place, near) for point in layer]) - steps[i]
            weights = [WAY_WEIGHT if extent[point] == WAY_SIZE else 1.0 for point in layer]
            settled = isotonic_regression(wished, weights=weights).x + steps[i]
            place.update(zip(layer, map(float, settled), strict=True))
    return place


def _places(
    layers: list[list[str]],
    chains: list[list[str]],
    boxes: set[str],
    wide: bool,
) -> tuple[dict[str, Place], float, float]:
    """Centres of all points, and the width and height of the picture."""
    along, across = (BOX_WIDTH, BOX_HEIGHT) if wide else (BOX_HEIGHT, BOX_WIDTH)
    extent = {point: float(across if point in boxes else WAY_SIZE) for layer in layers for point in layer}
    cross = _cross(layers, chains, extent)
    start = min(cross[point] - extent[point] / 2 for point in cross) - MARGIN
    breadth = max(cross[point] + extent[point] / 2 for point in cross) - start + MARGIN
    places = {}
    for i, layer in enumerate(layers):
        main = MARGIN + along / 2 + i * (along + LAYER_GAP)
        for point in layer:
            middle = round(cross[point] - start, 1)
            places[point] = Place(main, middle) if wide else Place(middle, main)
    length = 2 * MARGIN + len(layers) * (along + LAYER_GAP) - LAYER_GAP
    return (places, length, breadth) if wide else (places, breadth, length)


def _edge(points: list[Place], wide: bool) -> str:
    """A smooth line from box to box through its way points, with an arrow head."""
    half = (BOX_WIDTH if wide else BOX_HEIGHT) / 2
    stops = [(p.x, p.y) if wide else (p.y, p.x) for p in points]
    path = [(stops[0][0] + half, stops[0][1])]
    for main, cross in stops[1:-1]:
        path += [(main - half, cross), (main + half, cross)]
    path.append((stops[-1][0] - half - 2, stops[-1][1]))
    commands = []
    for i, (main, cross) in enumerate(path):
        if i == 0:
            commands.append(f"M{_point(main, cross, wide)}")
        elif cross == path[i - 1][1]:
            commands.append(f"L{_point(main, cross, wide)}")
        else:
            bend = (path[i - 1][0] + main) / 2
            commands.append(
                f"C{_point(bend, path[i - 1][1], wide)} {_point(bend, cross, wide)} {_point(main, cross, wide)}"
            )
    turn = "wide" if wide else "tall"
    return f'<path d="{"".join(commands)}" class="edge" marker-end="url(#arrow-{turn})"/>'


def _point(main: float, cross: float, wide: bool) -> str:
    return f"{main:g} {cross:g}" if wide else f"{cross:g} {main:g}"


def _box(node: PipelineNode, place: Place) -> str:
    left, top = place.x - BOX_WIDTH / 2, place.y - BOX_HEIGHT / 2
    about = node.headline if node.kind == node.name else f"{node.kind} · {node.headline}".removesuffix(" · ")
    lines = textwrap.wrap(visible(about), HEADLINE_LETTERS, max_lines=2, placeholder=" …")
    name = node.name if len(node.name) <= NAME_LETTERS else node.name[: NAME_LETTERS - 1] + "…"
    time = "" if node.seconds is None else duration(node.seconds)
    rows = "".join(
        f'<text x="{left + 12:g}" y="{top + 40 + 15 * i:g}" class="headline">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f"<g><title>{escape(visible(f'{node.name} ({node.kind}): {node.headline}'))}</title>"
        f'<rect x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9" class="box"/>'
        f'<text x="{left + 12:g}" y="{top + 22:g}" class="name">{escape(visible(name))}</text>'
        f'<text x="{left + 12:g}" y="{top + 74:g}" class="time">{time}</text>{rows}</g>'
    )
