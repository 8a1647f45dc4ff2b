"""The frontier's table and picture: numbers as they are, points where they belong, names escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from assent.report import frontier, pictures
from assent.report.data import Number
from assent.report.frontier import Frontier, Point
from assent.report.wording import memory


def point(family: str, setting: str, kl: float, worth: float, **more: object) -> Point:
    return Point.model_validate(
        {
            "name": family.lower(),
            "family": family,
            "setting": setting,
            "kl": Number(value=kl),
            "worth": Number(value=worth, low=worth - 0.1, high=worth + 0.1, n=9),
            **more,
        }
    )


POINTS = (
    point("SFT", "", 0.0, 0.2),
    point("PPO", "kl_coef 0.2", 1.0, 0.4, seconds=20.0, total_seconds=75.0, peak_memory=3 * 2**29),
    point("PPO", "kl_coef 0.05", 4.0, 0.6, win_rate=Number(value=0.7, low=0.65, high=0.75)),
)
FOUND = Frontier(judge="gold", reference="sft", runs=("a",), seeds=(0,), points=POINTS, notes=("one & only",))


def test_the_table_by_hand() -> None:
    head, line, sft, firm, loose = frontier.markdown(FOUND).splitlines()
    assert head == "| method | KL | gold | wins against sft | seconds | in all | memory |"
    assert line.count("---") == 7
    assert sft == "| SFT | 0.00 | 0.20 (0.10 to 0.30) | – | – | – | – |"
    assert firm == "| PPO, kl_coef 0.2 | 1.00 | 0.40 (0.30 to 0.50) | – | 20 s | 1 min 15 s | 1.5 GiB |"
    assert "70.0 % (65.0 to 75.0 %)" in loose


@pytest.mark.parametrize(("count", "said"), [(None, "–"), (300 * 2**20, "300 MiB"), (2**30, "1.0 GiB")])
def test_memory_in_words(count: int | None, said: str) -> None:
    assert memory(count) == said


def markers(svg: str, colour: str) -> list[tuple[float, float]]:
    """Where the markers of a colour stand."""
    uses = re.findall(r"<use ([^>]*)/>", svg)
    own = [use for use in uses if f"fill: var({colour})" in use]
    return [(float(re.search(r'x="([\d.]+)"', u)[1]), float(re.search(r'y="([\d.]+)"', u)[1])) for u in own]  # type: ignore[index]


def test_points_stand_at_the_root_of_their_kl() -> None:
    """KL 0, 1 and 4 are equally far apart on a square-root axis; worth 0.2, 0.4, 0.6 on a plain one."""
    svg = pictures.frontier(POINTS, "gold", "sft")
    (zero,) = markers(svg, "--ink")[:1]
    one, two = markers(svg, "--line-0")[:2]
    assert one[0] - zero[0] == pytest.approx(two[0] - one[0], abs=0.01)
    assert zero[1] - one[1] == pytest.approx(one[1] - two[1], abs=0.01)


def test_a_point_without_a_worth_is_left_out_and_settings_are_written() -> None:
    empty = Point(name="x", family="GRPO", setting="kl_coef 0.3", kl=Number(value=1.0), worth=Number())
    svg = pictures.frontier((*POINTS, empty), "gold", "sft")
    assert ">0.05<" in svg and ">0.2<" in svg and "0.3<" not in svg and "GRPO" not in svg
    assert pictures.frontier((), "gold", "sft"), "nothing to draw is no error"


def test_a_picture_of_its_own_has_its_colours_and_is_xml() -> None:
    drawn = pictures.alone(pictures.frontier(POINTS, "gold", "sft"))
    tree = ElementTree.fromstring(drawn)
    assert tree.get("width") and tree.get("height")
    used = set(re.findall(r"var\((--[\w-]+)\)", drawn))
    assert used and all(drawn.count(f"{name}:") == 2 for name in used), "a light and a dark value each"
    assert "prefers-color-scheme: dark" in drawn and drawn == pictures.alone(pictures.frontier(POINTS, "gold", "sft"))


def test_names_are_escaped_in_the_page() -> None:
    hostile = point("<script>", "x <b>", 1.0, 0.5)
    page = frontier.page(FOUND.model_copy(update={"points": (hostile,)}))
    assert "<script>" not in page and "<b>x" not in page and "one &amp; only" in page


def test_the_turn_is_drawn_with_every_seed() -> None:
    """Two seeds and their mean: three lines an arm in each panel; one seed: the mean alone."""
    two = pictures.Arm(name="unleashed", proxy=((0.0, 1.0), (1.0, 2.0)), gold=((1.0, 0.0), (0.5, 0.0)))
    one = two.model_copy(update={"proxy": two.proxy[:1], "gold": two.gold[:1]})
    lines = [pictures.turnover([arm]).count("fill: none; stroke: var(--line-0)") for arm in (two, one)]
    assert lines[0] - lines[1] == 4
