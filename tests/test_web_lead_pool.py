"""The rater pool: groups under five are never shown, also not by subtraction, nor by exact sums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Judgment
from assent.feedback.attributes import set_attributes
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.web.pool import compute, rounded
from feedback_store import person
from lead_states import judged, pair, state_of
from web_tools import client, join, open_store

GROUPS = [pair(i, (40, 20)) for i in range(12)]


def votes(raters: list[str], count: int = 12) -> list[Judgment]:
    """Everybody takes the first and longer answer."""
    return [judged(group, rater, "first") for group in GROUPS[:count] for rater in raters]


def told(ages: dict[str, int]) -> dict[str, dict[str, str]]:
    names = iter(range(100))
    return {f"r{next(names)}": {"age": age} for age, n in ages.items() for _ in range(n)}


@pytest.mark.parametrize(
    ("ages", "shown"),
    [
        ({"under 30": 5, "30 to 44": 5}, {"under 30": 5, "30 to 44": 5}),
        ({"under 30": 5, "30 to 44": 4}, {}),
        ({"under 30": 6, "30 to 44": 5, "45 to 59": 4}, {"under 30": 6, "other": 9}),
        ({"under 30": 5, "30 to 44": 3, "45 to 59": 2}, {"under 30": 5, "other": 5}),
        ({"under 30": 4, "30 to 44": 4}, {}),
        ({"under 30": 12}, {}),
    ],
)
def test_no_group_under_five(ages: dict[str, int], shown: dict[str, int]) -> None:
    values = told(ages)
    found = compute(state_of(GROUPS, votes(list(values)), told=values), "age").slices
    assert {one.value: one.raters for one in found} == shown
    assert sum(one.raters for one in found) in (0, len(values))


def test_not_telling_is_a_group_like_any_other() -> None:
    values = told({"under 30": 5})
    silent = [f"s{i}" for i in range(5)]
    found = compute(state_of(GROUPS, votes([*values, *silent]), told=values), "age").slices
    assert {one.value for one in found} == {"under 30", "not told"}
    assert [one.weight for one in found] == [0.5, 0.5]
    assert all(one.preference is not None and one.preference.estimate == 1.0 for one in found)
    few = compute(state_of(GROUPS, votes([*values, *silent[:4]]), told=values), "age").slices
    assert few == []


def test_only_work_of_people_weighs() -> None:
    values = told({"under 30": 5, "30 to 44": 5})
    made = votes(list(values)) + votes(["robot"])
    state = state_of(GROUPS, made, models=("robot",), told=values, gold=GROUPS[:6])
    assert [one.votes for one in compute(state, "age").slices] == [30, 30]
    assert compute(state_of(GROUPS, []), "age").slices == []


@pytest.mark.parametrize(
    ("count", "shown"), [(0, 0), (7, 7), (60, 60), (99, 99), (104, 100), (736, 740), (12_345, 12_000)]
)
def test_counts_are_rounded_to_two_digits(count: int, shown: int) -> None:
    assert rounded(count) == shown


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    made = client(store, tmp_path)
    join(store, made, Role.lead, "lead")
    return made


def test_the_page_shows_groups_and_follows_who_takes_back(store: Store, http: TestClient) -> None:
    people = [person(store, f"p{i}") for i in range(11)]
    for i, each in enumerate(people):
        set_attributes(store, each, {"region": "Asia" if i < 5 else "Europe"})
    store.add_judgments(GROUPS, votes([each.rater.id for each in people], 11))
    page = http.get("/lead/pool", params={"by": "region"}).text
    assert re.findall(r"<tr><td>(\w+)</td><td class=\"n\">(\d+)</td><td class=\"n\">(\d+)</td>", page) == [
        ("Europe", "6", "66"),
        ("Asia", "5", "55"),
    ]
    assert not any(each.name in page for each in people) and "n 66" not in page
    set_attributes(store, people[0], None)
    page = http.get("/lead/pool", params={"by": "region"}).text
    assert re.findall(r"<tr><td>(\w+)</td><td class=\"n\">(\d+)</td>", page) == [("Europe", "6"), ("other", "5")]
    assert "Nothing to show" in http.get("/lead/pool").text


def test_other_attributes_are_no_page(http: TestClient) -> None:
    for by in ("name", "", "<b>", "Age"):
        assert http.get("/lead/pool", params={"by": by}).status_code == 404
