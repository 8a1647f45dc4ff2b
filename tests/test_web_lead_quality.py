"""The figures of the page of quality, by hand: people and models on one axis, rules, the learning curve."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.core.errors import DataError
from assent.core.records import Judgment, Rater
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.stats.learning_curve import outlook
from assent.web.accuracy import LENGTH, PEOPLE, accuracies
from assent.web.curve import points
from assent.web.quality import compute
from lead_states import judged, pair, state_of
from web_tools import client, join, open_store

GROUPS = [pair(i, (30, 20) if i < 6 else (20, 20)) for i in range(12)]
MEASURED = "500 0.61 300\n1000 0.64 300\n2000 66% 300\n\n4000 0.675 300"


def said(flip: bool = False) -> list[Judgment]:
    """Ann always takes the first, Bob the second on the last 4 of 12; a judge ties, a reward model follows Ann."""
    made = []
    for i, group in enumerate(GROUPS):
        made += [judged(group, "ann", "first", flip=flip), judged(group, "bob", "second" if i > 7 else "first")]
        made += [judged(group, "judge", "tie"), judged(group, "reward", "first", flip=flip)]
    return made


@pytest.mark.parametrize("flip", [False, True])
def test_everybody_on_one_axis_by_hand(flip: bool) -> None:
    found = {one.name: one for one in accuracies(state_of(GROUPS, said(flip), models=("judge", "reward")))}
    assert list(found) == [PEOPLE, "judge", "reward", LENGTH]
    # 24 choices. Another person: 8 pairs agree both ways. Reward: all of Ann's, 8 of Bob's. Length: 6 pairs, else half.
    expected = {PEOPLE: 16 / 24, "judge": 0.5, "reward": 20 / 24, LENGTH: 18 / 24}
    for name, value in expected.items():
        one = found[name]
        assert one.found is not None and one.found.estimate == pytest.approx(value) and one.n == 24
        assert one.found.low <= value <= one.found.high and one.found.n == 12


def test_ties_and_check_items_are_nothing_to_be_right_about() -> None:
    ties = [judged(group, "bob", "both_bad", n=1, supersedes=f"{group.id}-bob-0") for group in GROUPS]
    (people, *_) = accuracies(state_of(GROUPS, said() + ties, models=("judge", "reward")))
    assert (
        people.n == 12 and people.found is not None and people.found.estimate == 0.5
    )  # Ann's choices, Bob says neither
    nothing = accuracies(state_of(GROUPS, said(), models=("judge", "reward"), gold=GROUPS))
    assert [one.n for one in nothing] == [0, 0, 0, 0] and all(one.found is None for one in nothing)


def test_under_ten_prompts_nothing_is_said() -> None:
    few = [judgment for judgment in said() if judgment.group in {group.id for group in GROUPS[:9]}]
    assert all(one.found is None and one.n for one in accuracies(state_of(GROUPS, few, models=("judge", "reward"))))


def test_agreement_is_between_people_and_on_work() -> None:
    alone = compute(state_of(GROUPS, [j for j in said() if j.rater in ("ann", "bob")]))
    both = compute(state_of(GROUPS, said(), models=("judge", "reward")))
    assert alone.agreement == both.agreement and alone.hardest == both.hardest
    assert both.agreement.raw is not None and both.agreement.raw.estimate == pytest.approx(8 / 12)
    assert len(both.hardest) == 4
    half = both.precision
    assert half is not None and (half.prompts, half.needed) == (12, 48)


def test_rules_are_those_of_the_guideline_and_by_what_is_split() -> None:
    guide = "R1: Be right.\n\nR2: Be brief.\n\nR12: Be kind.\n"
    notes = {0: "R1!", 8: "is it R2 or R12?", 9: "(R2)", 10: "XR2, R2b, R99, C3", 11: "r1"}
    made = [
        j.model_copy(update={"note": notes.get(i // 4, "")}) if j.rater == "ann" else j for i, j in enumerate(said())
    ]
    found = compute(state_of(GROUPS, made, models=("judge", "reward"), guideline=guide))
    assert found.has_rules
    assert [(r.rule, r.n, r.items, r.judged_twice, r.split) for r in found.rules] == [
        ("R2", 2, 2, 2, 2),
        ("R12", 1, 1, 1, 1),
        ("R1", 1, 1, 1, 0),
    ]
    assert compute(state_of(GROUPS, made, models=("judge", "reward"))).rules == []  # no guideline has these rules
    robots = compute(state_of(GROUPS, made, models=("judge", "reward", "ann"), guideline=guide))
    assert robots.has_rules and robots.rules == []


def test_a_learning_curve_through_points() -> None:
    measured = points(MEASURED)
    assert measured[2] == (2000, 0.66, 300) and len(measured) == 4
    found = outlook(measured)
    assert found.largest == 4000 and [r.target for r in found.reach] == pytest.approx([0.68, 0.70, 0.72, 0.74])
    for one in found.reach:
        assert 0 <= one.more.low <= one.more.high
    assert found.reach[-1].more.estimate == math.inf  # beyond ten times the largest nothing is said
    assert outlook([(n, 0.98, 300) for n in (1.0, 2.0, 4.0, 8.0)]).reach == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("500 0.6", "line 1"),
        ("500 0.6 300\n1000 nan 300", "line 2"),
        ("500 0.6 300\n1000 1.6 300", "line 2"),
        ("-5 0.6 300", "line 1"),
        ("500 0.6 0", "line 1"),
        ("500 0.6 300\n1000 0.6 300", "2 lines"),
        ("5 0.6 9\n" * 21, "21 lines"),
    ],
)
def test_points_that_are_none(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        points(text)


def test_the_page_says_what_is_missing_and_refuses_bad_points(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        http = client(store, tmp_path)
        join(store, http, Role.reviewer, "reviewer")
        page = http.get("/lead/quality").text
        assert "No reward model and no judge" in page and "194 choices" in page and "783 choices" in page
        assert page.count("not enough data") >= 3
        same = "500 0.6 300\n" * 4
        for bad in ("<script>", same):
            refused = http.get("/lead/quality", params={"measured": bad})
            assert refused.status_code == 400 and 'role="alert"' in refused.text and "<script>" not in refused.text
        shown = http.get("/lead/quality", params={"measured": MEASURED})
        assert shown.status_code == 200 and "At twice the 4,000 judgments" in shown.text
        _models_are_named_and_escaped(store, http)


def _models_are_named_and_escaped(store: Store, http: TestClient) -> None:
    made = [j.model_copy(update={"rater": "<img src=x>"}) if j.rater == "judge" else j for j in said()]
    store.add_judgments(GROUPS, made, [Rater(id="<img src=x>", kind="model"), Rater(id="reward", kind="rule")])
    page = http.get("/lead/quality").text
    assert "&lt;img src=x&gt;" in page and "<img" not in page and "No reward model" not in page
    assert page.count('role="img"') == 4 and "83 %" in page
