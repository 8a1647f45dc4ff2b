"""The weighted sum of rewards, by hand, with every component kept for its own curve."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from assent.core.records import Answer, Group, Prompt
from assent.rewards.total import TotalReward

PROMPT = Prompt.of("x")
GROUPS = [
    Group(prompt=PROMPT, answers=(Answer(id="a", text="a"), Answer(id="b", text="b"))),
    Group(prompt=Prompt.of("y"), answers=(Answer(id="c", text="c"),)),
]


class Fixed:
    """A scorer with given values."""

    def __init__(self, *values: list[float | None], metrics: dict[str, float] | None = None) -> None:
        self.values, self.step, self.metrics = list(values), 0, metrics or {}

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        return self.values


def test_weighted_sum_by_hand() -> None:
    total = TotalReward([("rm", Fixed([1.0, 2.0], [3.0]), 1.0), ("f", Fixed([10.0, -4.0], [0.5]), -0.5)])
    assert total.score(GROUPS) == [[1 - 5, 2 + 2], [3 - 0.25]]
    assert total.components == {"rm": [1.0, 2.0, 3.0], "f": [10.0, -4.0, 0.5]}
    assert total.figures() == {"rewards/rm/mean": 2.0, "rewards/f/mean": pytest.approx(6.5 / 3)}


def test_what_one_component_cannot_score_is_missing() -> None:
    """Missing is not zero: the other component alone would be another reward."""
    total = TotalReward([("rm", Fixed([1.0, 2.0], [3.0]), 1.0), ("f", Fixed([None, 0.0], [None]), 1.0)])
    assert total.score(GROUPS) == [[None, 2.0], [None]]
    assert total.components["f"] == [0.0], "the mean is over what is known"
    assert total.components["rm"] == [1.0, 2.0, 3.0]


def test_a_component_that_knows_nothing_has_no_mean() -> None:
    total = TotalReward([("f", Fixed([None, None], [None]), 1.0)])
    assert total.score(GROUPS) == [[None, None], [None]]
    assert total.figures() == {}


def test_weight_zero_watches_without_acting() -> None:
    total = TotalReward([("rm", Fixed([1.0, 2.0], [3.0]), 1.0), ("seen", Fixed([9.0, 9.0], [9.0]), 0.0)])
    assert total.score(GROUPS) == [[1.0, 2.0], [3.0]]
    assert total.figures()["rewards/seen/mean"] == 9.0


def test_functions_are_told_the_step_and_their_own_figures_are_kept() -> None:
    told = Fixed([0.0, 0.0], [0.0], metrics={"share": 0.25})

    class Mute:
        def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
            return [[0.0, 0.0], [0.0]]

    total = TotalReward([("f", told, 1.0), ("rm", Mute(), 1.0)])
    total.at(7)
    total.score(GROUPS)
    assert told.step == 7
    assert total.figures()["share"] == 0.25
