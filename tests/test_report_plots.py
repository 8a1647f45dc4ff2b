"""Plots: text stays text, gaps stay gaps, points stand where the data are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from assent.report.data import Panel, Series
from assent.report.plots import VARIABLES, curve, finite, reliability_diagram
from assent.stats.calibration import Bin

SVG = "{http://www.w3.org/2000/svg}"


def panel(*ys: float | None, title: str = "Reward") -> Panel:
    return Panel(title=title, series=(Series(name="s", xs=tuple(map(float, range(len(ys)))), ys=ys),))


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """Corner points of each stretch of the first data line."""
    path = re.search(r'd="([^"]*)"[^>]*style="fill: none; stroke: var\(--line-0\)', svg)
    assert path is not None
    stretches: list[list[tuple[float, float]]] = []
    for command, x, y in re.findall(r"([ML]) ([\d.]+) ([\d.]+)", path[1]):
        if command == "M":
            stretches.append([])
        stretches[-1].append((float(x), float(y)))
    return stretches


def test_points_are_where_the_data_are() -> None:
    svg = curve(panel(0.0, 1.0, 0.5), "p")
    assert svg is not None
    ((first, second, third),) = lines(svg)
    assert first[0] < second[0] < third[0]
    assert abs((second[0] - first[0]) - (third[0] - second[0])) < 1e-3
    assert abs((first[1] - second[1]) - 2 * (third[1] - second[1])) < 1e-3  # SVG counts downwards


def test_missing_and_infinite_values_are_gaps() -> None:
    svg = curve(panel(0.0, 1.0, None, 0.5, 0.2, float("inf"), 0.1, 0.3), "p")
    assert svg is not None
    assert [len(stretch) for stretch in lines(svg)] == [2, 2, 2]


def test_no_finite_point_makes_no_plot_and_a_single_one_is_a_dot() -> None:
    assert curve(panel(None, float("nan")), "p") is None
    assert curve(panel(), "p") is None
    assert finite(panel(None).series[0]) == ([], [])
    single = curve(panel(0.5), "p")
    assert single is not None and "<use" in single


def test_text_is_text_colours_are_variables_and_bytes_repeat() -> None:
    svg = curve(panel(0.0, -1.0, title='a "quoted" <b>'), "p")
    assert svg is not None
    tree = ElementTree.fromstring(svg)
    assert {"0", "1"} <= {"".join(node.itertext()) for node in tree.iter(f"{SVG}text")}
    assert tree.get("aria-label") == 'a "quoted" <b> over training steps'
    assert set(re.findall(r"var\((--[\w-]+)\)", svg)) <= set(VARIABLES.values())
    assert not re.findall(r"#[0-9a-f]{6}\b", svg)
    assert "font-family" not in svg  # the page chooses the letters
    assert "<style" not in svg and "<metadata" not in svg
    assert curve(panel(0.0, -1.0, title='a "quoted" <b>'), "p") == svg


def test_two_plots_on_one_page_share_no_id() -> None:
    first, second = curve(panel(0.0, 1.0), "one"), curve(panel(0.0, 1.0), "two")
    assert first is not None and second is not None
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]


def test_a_curve_that_hardly_moves_has_whole_numbers_at_its_axis() -> None:
    """Matplotlib would write `1e-5+4.999e-1` above the axis and small numbers beside it."""
    svg = curve(panel(25.0, 24.98), "p")
    assert svg is not None
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert not [text for text in texts if "e" in text]
    assert any(text.startswith("24.9") for text in texts)


def test_the_labels_of_a_wide_reliability_diagram_leave_room() -> None:
    svg = reliability_diagram([Bin(0.55, 0.2, 10), Bin(0.65, 0.7, 10)])
    assert svg is not None
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert 2 * 4 <= sum(text.endswith("%") for text in texts) <= 2 * 6


def test_reliability_diagram_has_a_dot_a_bin_larger_where_there_are_more_pairs() -> None:
    assert reliability_diagram([]) is None
    svg = reliability_diagram([Bin(0.55, 0.6, 10), Bin(0.75, 0.7, 1000), Bin(0.95, 0.8, 10)])
    assert svg is not None
    dots = []
    for path in re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--line-0\)', svg):
        corners = np.array(re.findall(r"[MC] ([\d.]+) ([\d.]+)", path), dtype=float)
        dots.append((*corners.mean(axis=0), np.ptp(corners[:, 0])))
    (x0, y0, size0), (x1, y1, size1), (x2, y2, size2) = dots
    assert x0 < x1 < x2  # predicted rises to the right
    assert y0 > y1 > y2  # observed rises upwards
    assert size1 > 1.5 * size0 and size0 == pytest.approx(size2)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.5)
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "60 %" in texts and "100 %" in texts
