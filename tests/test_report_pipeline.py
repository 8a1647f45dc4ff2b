"""The pipeline picture: every step, every arrow, no box on another, no step before its parents."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.report.data import PipelineNode
from assent.report.pipeline import BOX_HEIGHT, BOX_WIDTH, picture

SVG = "{http://www.w3.org/2000/svg}"


def steps(**parents: str) -> list[PipelineNode]:
    return [PipelineNode(name=name, kind=name, parents=tuple(given.split())) for name, given in parents.items()]


DEMO = steps(
    pretrain="",
    sft="pretrain",
    collect="sft",
    reward="pretrain collect",
    ppo="sft reward",
    audit="pretrain sft ppo",
    compare="sft ppo",
)


def boxes(svg: str) -> dict[str, tuple[float, float]]:
    """Upper left corner of each step's box."""
    places = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        rect, name = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None and name is not None and name.text is not None
        places[name.text] = (float(rect.attrib["x"]), float(rect.attrib["y"]))
    return places


def random_pipeline(seed: int) -> list[PipelineNode]:
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(int(rng.integers(1, 12)))]
    return steps(**{name: " ".join(n for n in names[:i] if rng.random() < 0.3) for i, name in enumerate(names)})


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("seed", [None, *range(20)])
def test_boxes_follow_their_parents_keep_apart_and_stay_inside(wide: bool, seed: int | None) -> None:
    nodes = DEMO if seed is None else random_pipeline(seed)
    svg = picture(nodes, wide=wide)
    assert svg is not None
    places = boxes(svg)
    assert set(places) == {node.name for node in nodes}
    main = 0 if wide else 1
    for node in nodes:
        for parent in node.parents:
            assert places[parent][main] + (BOX_WIDTH, BOX_HEIGHT)[main] < places[node.name][main]
    for a, b in combinations(places.values(), 2):
        assert abs(a[0] - b[0]) >= BOX_WIDTH or abs(a[1] - b[1]) >= BOX_HEIGHT
    width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
    assert all(0 <= x <= width - BOX_WIDTH and 0 <= y <= height - BOX_HEIGHT for x, y in places.values())
    assert svg.count('class="edge"') == sum(len(node.parents) for node in nodes)


def test_arrows_run_from_parent_to_child_around_the_boxes_between() -> None:
    svg = picture(DEMO, wide=True)
    assert svg is not None
    places = boxes(svg)
    ends = []
    for path in re.findall(r'<path d="([^"]*)" class="edge"', svg):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        ends.append((numbers[:2], numbers[-2:]))
        for x, y in zip(numbers[0::2], numbers[1::2], strict=True):
            assert not [
                name
                for name, (left, top) in places.items()
                if left + 1 < x < left + BOX_WIDTH - 1 and top < y < top + BOX_HEIGHT
            ]
    starts = [[left + BOX_WIDTH, top + BOX_HEIGHT / 2] for left, top in places.values()]
    assert all(any(np.allclose(start, known, atol=0.2) for known in starts) for start, _ in ends)


def test_no_steps_no_picture_and_parents_outside_the_run_are_left_out() -> None:
    assert picture([], wide=True) is None
    svg = picture(steps(sft="elsewhere"), wide=True)
    assert svg is not None and 'class="edge"' not in svg


def test_a_circle_is_refused() -> None:
    with pytest.raises(DataError, match="circle: a, b"):
        picture(steps(a="b", b="a", c=""), wide=True)


def test_headline_is_wrapped_and_kept_whole_in_the_tooltip() -> None:
    long = "one thousand five hundred and thirty-six groups of four answers each"
    svg = picture([PipelineNode(name="a_step_with_a_very_long_name", kind="collect", headline=long)], wide=True)
    assert svg is not None
    shown = re.findall(r'class="headline">(.*?)</text>', svg)
    assert len(shown) == 2 and shown[0].startswith("collect · one") and shown[1].endswith("…")
    assert f"{long}</title>" in svg
    assert "a_step_with_a_…</text>" in svg
