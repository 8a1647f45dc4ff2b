"""Slices of the pool: five or more raters always, nothing by subtraction, planted tastes seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.core.records import Rater
from assent.stats.agreement import Vote
from assent.stats.slices import merged, slices


def pool(**sizes: int) -> list[Rater]:
    return [
        Rater(id=f"{value}{i}", kind="human", attributes={} if value == "silent" else {"region": value})
        for value, n in sizes.items()
        for i in range(n)
    ]


def cast(raters: list[Rater], likes: dict[str, float], items: int = 60) -> list[Vote]:
    """Each votes on every item: first with the chance of his region."""
    rng = np.random.default_rng(0)
    return [
        Vote(f"p{item}", f"i{item}", rater.id, "first" if rng.random() < likes[rater.id[:5]] else "second")
        for item in range(items)
        for rater in raters
    ]


def test_planted_tastes_are_seen() -> None:
    raters = pool(north=6, south=8)
    found = slices(
        cast(raters, {"north": 0.9, "south": 0.3}), raters, "region", trait={f"i{i}": "first" for i in range(60)}
    )
    assert [(one.value, one.raters, one.votes) for one in found] == [("south", 8, 480), ("north", 6, 360)]
    assert sum(one.weight for one in found) == pytest.approx(1)
    south, north = found
    assert south.preference and north.preference and south.within and north.within and north.across
    assert south.preference.high < 0.4 < 0.8 < north.preference.low
    # Two of the north say the same with chance .9^2 + .1^2 = .82; north and south with .9 x .3 + .1 x .7 = .34.
    assert north.within.estimate == pytest.approx(0.82, abs=0.04)
    assert north.across.estimate == pytest.approx(0.34, abs=0.04)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"a": 5, "b": 5}, {"a": 5, "b": 5}),
        ({"a": 9, "b": 3, "c": 4}, {"a": 9, "other": 7}),
        ({"a": 9, "b": 6, "c": 1}, {"a": 9, "other": 7}),  # c alone could be had by subtraction: b goes with it
        ({"a": 9, "b": 1}, {"other": 10}),
        ({"a": 2, "b": 1}, {"other": 3}),
        ({"a": 7, "other": 1, "b": 8}, {"b": 8, "other": 8}),
    ],
)
def test_small_values_are_merged(sizes: dict[str, int], expected: dict[str, int]) -> None:
    told = {f"{value}{i}": value for value, n in sizes.items() for i in range(n)}
    assert Counter(merged(told).values()) == expected


def test_nothing_is_shown_of_fewer_than_five() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        told = {f"r{i}": str(rng.integers(6)) for i in range(int(rng.integers(1, 30)))}
        shown = Counter(merged(told).values())
        assert len(shown) == 1 or min(shown.values()) >= 5
    raters = pool(north=20, south=4)
    assert slices(cast(raters, {"north": 0.5, "south": 0.5}), raters, "region") == []
    # Only those who voted count: 5 of the south are known, 4 voted.
    more = pool(north=20, south=5)
    assert slices([v for v in cast(more, {"north": 0.5, "south": 0.5}) if v.rater != "south4"], more, "region") == []
    with pytest.raises(DataError, match="single people"):
        slices([], raters, "region", k=4)


def test_who_told_nothing_is_a_slice_and_strangers_are_refused() -> None:
    raters = pool(north=5, silent=5)
    found = slices(cast(raters, {"north": 0.5, "silen": 0.5}), raters, "region")
    assert {one.value for one in found} == {"north", "not told"}
    assert all(one.preference is None for one in found)
    with pytest.raises(DataError, match="not among the raters"):
        slices(cast(raters, {"north": 0.5, "silen": 0.5}), raters[1:], "region")
