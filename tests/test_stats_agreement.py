"""Agreement: worked by hand, blind to screen sides, equal to the published value on real votes."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from dataclasses import astuple
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from assent.core.errors import DataError
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.stats.agreement import Vote, nominal_alpha, raw_agreement, votes

CROWD = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/llmfao-crowd/crowd-comparisons.csv.gz"


def cast(table: list[str]) -> list[Vote]:
    """One string a rater, one character an item; `.` is no vote."""
    return [
        Vote(f"i{item}", f"i{item}", f"r{rater}", value)
        for rater, row in enumerate(table)
        for item, value in enumerate(row)
        if value != "."
    ]


def ranked(group: Group, rater: str, *tiers: str, **rest: object) -> Judgment:
    places = [[group.answers[int(i)].id for i in tier] for tier in tiers]
    return Judgment.model_validate(
        {"id": f"{group.id}{rater}{tiers}{rest}", "group": group.id, "rater": rater, "tiers": places, **rest}
    )


def group_of(*texts: str) -> Group:
    prompt = Prompt.of(f"q {texts}", subject="s")
    answers = [Answer.of(prompt, text, index=i) for i, text in enumerate(texts)]
    return Group(prompt=prompt, answers=tuple(answers))


def test_alpha_worked_by_hand() -> None:
    # Items aa, ab, bb, bb. Values a 3, b 5, n = 8. Disagreement: item ab gives 2 / (2 - 1) = 2, so
    # D_o = 2/8; D_e = 2 * 3 * 5 / (8 * 7) = 30/56; alpha = 1 - (1/4) / (30/56) = 8/15.
    found = nominal_alpha(cast(["aabb", "abbb"]), seed=0, min_units=1)
    assert found is not None
    assert found.estimate == pytest.approx(8 / 15)
    raw = raw_agreement(cast(["aabb", "abbb"]), seed=0, min_units=1)
    assert raw is not None
    assert raw.estimate == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        # Krippendorff, Content Analysis (4th ed. 2019), p. 290: four observers, missing values.
        (["123321412..", "1233224125.", ".3332342251", "12332441251"], 0.743),
        # "Computing Krippendorff's Alpha-Reliability" (2011): three observers, missing values.
        ([".....34121133.3", "1.213343.......", "..21344.21133.4"], 0.691),
    ],
)
def test_alpha_of_published_tables(table: list[str], published: float) -> None:
    found = nominal_alpha(cast(table), seed=0, min_units=1)
    assert found is not None
    assert round(found.estimate, 3) == published


def test_perfect_and_absent_agreement() -> None:
    same = nominal_alpha(cast(["ab" * 20] * 3), seed=0)
    assert same is not None
    assert (same.estimate, same.low, same.high) == (1.0, 1.0, 1.0)
    rng = np.random.default_rng(5)
    random = nominal_alpha(cast(["".join(rng.choice(list("abt"), 400)) for _ in range(4)]), seed=0)
    assert random is not None
    assert random.low < 0 < random.high
    assert abs(random.estimate) < 0.05


def test_one_category_only_is_not_defined_and_single_votes_compare_nobody() -> None:
    assert nominal_alpha(cast(["a" * 30] * 3), seed=0) is None
    everyone = raw_agreement(cast(["a" * 30] * 3), seed=0)
    assert everyone is not None and everyone.estimate == 1.0
    assert raw_agreement(cast(["ab" * 15]), seed=0) is None
    assert nominal_alpha(cast(["ab" * 15]), seed=0) is None


def test_alpha_does_not_depend_on_names_of_categories_raters_or_on_order() -> None:
    rng = np.random.default_rng(6)
    table = ["".join(rng.choice(list("abt."), 60, p=[0.5, 0.2, 0.1, 0.2])) for _ in range(4)]
    found = nominal_alpha(cast(table), seed=0)
    assert found is not None
    for order in permutations(range(3)):
        renamed = [row.translate(str.maketrans("abt", "".join("abt"[i] for i in order))) for row in table]
        other = nominal_alpha(cast(renamed[::-1])[::-1], seed=0)
        assert other is not None
        assert astuple(other) == pytest.approx(astuple(found))


def test_ties_are_a_category_of_their_own() -> None:
    # Saying `tie` to an item another calls better is disagreement, saying it together is agreement.
    found = raw_agreement(cast(["tt", "ta"]), seed=0, min_units=1)
    assert found is not None and found.estimate == 0.5


def test_votes_name_the_better_answer_whatever_the_screen_showed() -> None:
    group = group_of("red", "green", "blue")
    by_id = sorted(group.answers, key=lambda answer: answer.id)
    judgments = [ranked(group, "r1", "2", "01"), ranked(group, "r2", "0", "1", "2")]
    found = votes(judgments, {group.id: group})
    assert len(found) == 6
    winners = {tuple(vote.item.split("/")[1:]): vote.value for vote in found if vote.rater == "r1"}
    place = {group.answers[0].id: 1, group.answers[1].id: 1, group.answers[2].id: 0}
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        a, b = by_id[first].id, by_id[second].id
        expected = "tie" if place[a] == place[b] else "first" if place[a] < place[b] else "second"
        assert winners[a, b] == expected
    ids = tuple(answer.id for answer in group.answers)
    shown = [
        judgment.model_copy(update={"shown_order": order})
        for judgment, order in zip(judgments, [ids, ids[::-1]], strict=True)
    ]
    flipped = [judgment.model_copy(update={"shown_order": judgment.shown_order[::-1]}) for judgment in shown]
    assert votes(shown, {group.id: group}) == votes(flipped, {group.id: group}) == found


def test_answers_listed_in_another_order_give_the_same_votes() -> None:
    group = group_of("red", "green", "blue")
    turned = Group(prompt=group.prompt, answers=group.answers[::-1])
    one = votes([ranked(group, "r", "0", "12")], {group.id: group})
    other = votes([ranked(turned, "r", "2", "10")], {turned.id: turned})
    assert set(one) == set(other)


def test_skips_superseded_and_identical_texts_make_no_vote_and_a_rater_counts_once() -> None:
    group = group_of("red", "green", "red")
    first = ranked(group, "r1", "0", "12")
    again = ranked(group, "r1", "1", "02", supersedes=first.id)
    skip = Judgment(id="s", group=group.id, rater="r2", outcome="skip")
    bad = Judgment(id="b", group=group.id, rater="r3", outcome="both_bad")
    found = votes([again, first, skip, bad], {group.id: group})
    assert {(vote.rater, vote.value) for vote in found if vote.rater == "r3"} == {("r3", "both_bad")}
    assert sorted(vote.rater for vote in found) == ["r1", "r1", "r3", "r3"]  # red against red is no pair
    assert {vote.value for vote in found if vote.rater == "r1"} <= {"first", "second"}
    with pytest.raises(DataError, match="which is not given"):
        votes([first], {})
    repeat = votes([first, ranked(group, "r1", "02", "1")], {group.id: group})
    assert len(repeat) == 2


@pytest.mark.skipif(not CROWD.exists(), reason=f"no {CROWD}: set ASSENT_TEST_DATA")
def test_published_alpha_of_real_crowd_votes() -> None:
    with gzip.open(CROWD, "rt") as file:
        found = [Vote(row["prompt"], row["id"], row["worker"], row["winner"]) for row in csv.DictReader(file)]
    assert len(found) == 8931
    alpha, raw = nominal_alpha(found, seed=0), raw_agreement(found, seed=0)
    assert alpha is not None and raw is not None
    assert round(alpha.estimate, 3) == 0.291
    assert round(raw.estimate, 3) == 0.529
    single = sum(votes == 1 for votes in Counter(vote.item for vote in found).values())
    assert (alpha.n, alpha.rows) == (13, 2139 - single)
    assert alpha.low < alpha.estimate < alpha.high
