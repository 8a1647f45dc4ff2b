"""What each member of an ensemble learns from: by subject, by rater, by guideline."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import tiny
from assent.config.preferences import Ensemble, RewardConfig
from assent.core.errors import DataError
from assent.core.records import Group, Judgment, Rater
from assent.steps.members import Member, members_of

GROUPS = [
    tiny.group(prompt.model_copy(update={"tags": {"subject": f"s{i // 2}"}}), "w1", "w2")
    for i, prompt in enumerate(tiny.prompts(40))
]
"""Two groups a subject."""
RATERS = [Rater(id=f"r{i}", attributes={"team": "east" if i % 2 else "west", "age": 20 + i}) for i in range(6)]


def judged(group: Group, rater: str, guideline: str | None = None) -> Judgment:
    tiers = tuple((answer.id,) for answer in group.answers)
    return Judgment(id=f"{group.id}-{rater}", group=group.id, rater=rater, tiers=tiers, guideline=guideline)


JUDGMENTS = [judged(g, f"r{i % 6}", ("brief", None, "warm")[i % 3]) for i, g in enumerate(GROUPS)]


def members(seed: int = 0, judgments: list[Judgment] = JUDGMENTS, **settings: Any) -> list[Member]:
    return members_of(Ensemble.model_validate(settings), GROUPS, judgments, RATERS, seed, "reward")


def raters(member: Member) -> set[str]:
    return {judgment.rater for judgment in member.judgments}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"from": {"policy": ["a", "b"], "judgments": "c"}}, "several policies are the trunks of an ensemble"),
        ({"from": {"policy": ["a", "b", "c"], "judgments": "c"}, "ensemble": {"members": 2}}, "3 policies are trunks"),
        ({"from": {"policy": ["a", "b"], "judgments": "c"}, "ensemble": {}, "model": "m"}, "`model` is one trunk"),
        ({"from": {"judgments": "c"}, "model": "m", "ensemble": {}}, "comparable on one scale only"),
        ({"from": {"policy": "a", "judgments": "c"}, "ensemble": {}, "normalise_prompts": 0}, "one scale only"),
        ({"from": {"policy": "a", "judgments": "c"}, "ensemble": {"differ": "attribute"}}, "needs `attribute: NAME`"),
        (
            {"from": {"policy": "a", "judgments": "c"}, "ensemble": {"differ": "guideline", "members": 2}},
            "`members` is not read",
        ),
    ],
)
def test_what_would_be_ignored_or_mean_nothing_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RewardConfig.model_validate(settings)


def test_bootstrap_draws_as_many_subjects_as_there_are() -> None:
    for member in members(differ="bootstrap", members=4):
        assert member.times is not None
        assert sum(member.times.values()) == 20 and max(member.times.values()) > 1
        assert all(member.draws(a) == member.draws(b) for a, b in zip(GROUPS[::2], GROUPS[1::2], strict=True)), (
            "a subject comes with all its groups, or not at all"
        )
        assert any(member.draws(group) == 0 for group in GROUPS)
    assert len(members(differ="bootstrap", members=4)) == 4


def test_bootstraps_are_reproducible_and_differ() -> None:
    def drawn(seed: int) -> list[Counter[str]]:
        return [Counter(member.times) for member in members(seed, differ="bootstrap", members=3)]

    assert drawn(0) == drawn(0)
    assert len({str(sorted(one.items())) for seed in (0, 1) for one in drawn(seed)}) == 6
    backwards = members_of(Ensemble(members=3), GROUPS[::-1], JUDGMENTS[::-1], RATERS, 0, "reward")
    assert [Counter(member.times) for member in backwards] == drawn(0), "the order of the data plays no part"


def test_only_judged_subjects_are_drawn() -> None:
    (first, _) = members(judgments=JUDGMENTS[:10], differ="bootstrap", members=2)
    assert first.times is not None and set(first.times) <= {f"s{i}" for i in range(5)}


def test_draws_of_one_subject_would_all_be_the_same() -> None:
    with pytest.raises(DataError, match=r"one subject \(s0\), so every draw is the same"):
        members(judgments=JUDGMENTS[:2], differ="bootstrap")


def test_seeds_leave_the_data_alone() -> None:
    found = members(differ="seed", members=2)
    assert [member.judgments for member in found] == [JUDGMENTS, JUDGMENTS]
    assert [member.names for member in found] == [(1,), (2,)] and found[0].draws(GROUPS[0]) == 1


def test_shares_of_raters_are_apart_and_whole() -> None:
    found = members(differ="raters", members=3)
    assert [len(raters(member)) for member in found] == [2, 2, 2]
    assert set().union(*map(raters, found)) == {rater.id for rater in RATERS}
    assert sum(len(member.judgments) for member in found) == len(JUDGMENTS)
    assert [raters(m) for m in members(differ="raters", members=3)] == [raters(m) for m in found]
    with pytest.raises(DataError, match="7 members, but only 6 raters"):
        members(differ="raters", members=7)


def test_a_slice_by_attribute_holds_its_raters_and_no_other() -> None:
    east, west = members(differ="attribute", attribute="team")
    assert (east.of, raters(east)) == ("team east", {"r1", "r3", "r5"})
    assert (west.of, raters(west)) == ("team west", {"r0", "r2", "r4"})
    with pytest.raises(DataError, match=r"no rater has the attribute `shoe`(.*\n)*.*age, team"):
        members(differ="attribute", attribute="shoe")
    with pytest.raises(DataError, match="there is only team west"):
        members(judgments=[j for j in JUDGMENTS if j.rater in ("r0", "r2")], differ="attribute", attribute="team")


def test_guidelines_are_told_apart_and_none_is_one_too() -> None:
    found = members(differ="guideline")
    assert [member.of for member in found] == ["guideline brief", "guideline none named", "guideline warm"]
    assert {j.guideline for j in found[1].judgments} == {None}
    with pytest.raises(DataError, match="there is only guideline brief"):
        members(judgments=JUDGMENTS[::3], differ="guideline")
