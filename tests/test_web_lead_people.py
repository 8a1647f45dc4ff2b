"""The lead's pages of people: nothing flagged on little data, nobody ranked, names are hostile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Judgment
from assent.feedback.records import Person, Role, Verdict
from assent.feedback.store import Store
from assent.web import rater_figures
from feedback_store import Clock, given, person
from lead_states import judged, pair, state_of
from web_tools import client, join, open_store

GROUPS = [pair(i) for i in range(194)]
KINDS = {"first": "second", "second": "first"}


def lefty(group_count: int, rater: str = "left") -> list[Judgment]:
    """Somebody who always takes what is shown first, whichever it is."""
    return [
        judged(group, rater, "second" if i % 2 else "first", flip=bool(i % 2))
        for i, group in enumerate(GROUPS[:group_count])
    ]


def others(count: int = 194) -> list[Judgment]:
    """Two people to whom the side does not matter and who agree on six pairs of seven."""
    made = []
    for i, group in enumerate(GROUPS[:count]):
        said = "first" if i % 3 else "second"
        made += [judged(group, "b", said, flip=i % 4 < 2)]
        made += [judged(group, "c", said if i % 7 else KINDS[said], flip=i % 4 > 1)]
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path, Clock()) as made:  # at midnight, today's work would be on two days
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    made = client(store, tmp_path)
    join(store, made, Role.lead, "lead")
    return made


def test_a_side_is_flagged_from_194_choices_and_not_before() -> None:
    few = rater_figures.compute(state_of(GROUPS, lefty(193) + others())).of("left").monitors["left"]
    assert few.n == 193 and few.found is not None and few.found.estimate == 1.0 and not few.flagged
    many = rater_figures.compute(state_of(GROUPS, lefty(194) + others()))
    assert many.of("left").monitors["left"].flagged and not many.of("b").monitors["left"].flagged


def test_skill_and_biases_need_enough_shared_choices_of_two_people() -> None:
    found = rater_figures.compute(state_of(GROUPS, lefty(89) + others()))
    assert found.of("left").model == {} and found.of("left").shared == 89 and found.of("b").shared == 194
    side = found.of("b").model["side"]
    assert set(found.of("b").model) == {"skill", "side", "tie"} and side.low < 0 < side.high
    alone = rater_figures.compute(state_of(GROUPS, lefty(194)))
    assert alone.of("left").shared == 0 and alone.of("left").model == {}
    planted = rater_figures.compute(state_of(GROUPS, lefty(194) + others())).of("left").model["side"]
    assert planted.low > 0


def test_people_without_noise_are_told_apart_and_equal_lengths_say_nothing() -> None:
    same = [judged(g, rater, "first" if i % 3 else "second") for i, g in enumerate(GROUPS) for rater in ("b", "c")]
    found = rater_figures.compute(state_of(GROUPS, lefty(194) + same))
    agreed, left = found.of("b").model, found.of("left").model
    assert found.of("b").shared == 194 and found.of("left").monitors["left"].flagged
    assert agreed.keys() == left.keys() == {"skill", "side", "tie"}
    # Two who always agree are sure of what they see; who always takes the left sees nothing but the side.
    assert agreed["skill"].low > 1 and agreed["side"].low < 0 < agreed["side"].high
    assert left["skill"].low < 0 < left["skill"].high and left["side"].low > 2


def test_models_are_no_measure_of_people() -> None:
    robot = [judged(group, "robot", KINDS["second" if i % 3 else "first"]) for i, group in enumerate(GROUPS)]
    with_robot = rater_figures.compute(state_of(GROUPS, others() + robot, models=("robot",)))
    without = rater_figures.compute(state_of(GROUPS, others()))
    assert with_robot.by_rater == without.by_rater


def test_nobody_judged_yet() -> None:
    skips = [judged(GROUPS[0], "ann", "skip")]
    assert rater_figures.compute(state_of(GROUPS, skips)).of("ann").monitors == {}


def row(page: str, name: str) -> str:
    (found,) = (each for each in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if f">{name}</a>" in each)
    return str(found)


def test_by_name_with_n_and_nothing_in_colour_on_little_data(store: Store, http: TestClient) -> None:
    people = {name: person(store, name) for name in ("zoe", "Bob", "ann")}
    renamed = {"left": people["Bob"].rater.id, "b": people["ann"].rater.id, "c": people["zoe"].rater.id}
    made = [j.model_copy(update={"rater": renamed[j.rater]}) for j in lefty(120) + others(120)]
    store.add_judgments(GROUPS, made)
    page = http.get("/lead/people").text
    assert re.findall(r'<a href="/lead/people/[^"]+">([^<]+)</a>', page) == ["ann", "Bob", "lead", "zoe"]
    assert "n 120 of 194" in row(page, "Bob") and "n 120" in row(page, "ann")
    assert "worth a look" not in row(page, "zoe")
    flags = row(page, "Bob").count("worth a look")
    more = [j.model_copy(update={"rater": renamed[j.rater]}) for j in (*lefty(194)[120:], *others()[240:])]
    store.add_judgments(GROUPS, more)
    assert row(http.get("/lead/people").text, "Bob").count("worth a look") == flags + 1


def test_one_persons_page(store: Store, http: TestClient) -> None:
    store.add_groups([pair(1)], "compare")
    hot = pair(2)
    hot = hot.model_copy(update={"prompt": hot.prompt.model_copy(update={"tags": {"sensitive": "violence"}})})
    store.add_groups([hot], "compare")
    ann = person(store, "<b>ann</b>")
    for key in ("k1", "k2"):
        item = given(store, ann)
        store.submit(
            ann, item.id, key, Verdict(tiers=item.tiers([[0], [1]]), strength=1, visible_ms=30_000, note="<i>")
        )
    page = http.get(f"/lead/people/{ann.id}").text
    assert "&lt;b&gt;ann&lt;/b&gt;" in page and "<b>ann" not in page and "&lt;i&gt;" in page
    assert "violence" in page and page.count("1 min 00 s") == 2  # in all and today
    assert "not enough data" in page and 'class="look"' not in page
    assert "under 30" not in page  # what people tell of themselves stands on no page of one person


def test_somebody_who_is_not_there(http: TestClient) -> None:
    for id in ("nobody", "%00", "%F0%9F%98%80", "a%2Fb"):
        assert http.get(f"/lead/people/{id}").status_code == 404


def test_reviewers_and_raters_see_nobody(store: Store, tmp_path: Path) -> None:
    shown: Person = person(store, "ann")
    for role in (Role.rater, Role.reviewer):
        other = client(store, tmp_path)
        join(store, other, role, role.value)
        assert other.get(f"/lead/people/{shown.id}").status_code == 403
        assert other.get("/lead/pool").status_code == 403
