"""Judgments as pairs: probabilities, ties and raters' weights, by hand; and what must not matter."""

from __future__ import annotations

from typing import Any

import pytest

import tiny
from assent.config.preferences import Labels
from assent.core.errors import ConfigError, DataError
from assent.core.records import Judgment, Prompt, Rater
from assent.methods.pairs import Pair
from assent.steps.pairs import check_soft, pairs_of

GROUP = tiny.group(Prompt.ask("w1"), "w2", "w3", "w4")
A, B, C = (answer.id for answer in GROUP.answers)
SOFT, HALF = Labels(soft=True), Labels(soft=True, ties="half")
RATERS = [Rater(id="ann", kind="human"), Rater(id="bot", kind="model"), Rater(id="bob", kind="model")]


def judged(*tiers: tuple[str, ...], rater: str = "ann", **rest: Any) -> Judgment:
    return Judgment(id=rest.pop("id", f"by-{rater}"), group=GROUP.id, rater=rater, tiers=tiers, **rest)


def pairs(*judgments: Judgment, labels: Labels | None = None, only: str = "all") -> list[Pair]:
    return sorted(pairs_of([GROUP], judgments, labels, RATERS, only).get(GROUP.id, []))


# Probabilities and ties


def test_probabilities_make_soft_labels() -> None:
    """0.6, 0.3, 0.1: the better one wins with 2/3, 6/7 and 3/4; the pairs share the judgment's weight."""
    found = pairs(judged((A,), (B,), (C,), probs={A: 0.6, B: 0.3, C: 0.1}), labels=SOFT)
    assert [pair[:2] for pair in found] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.prob for pair in found] == pytest.approx([2 / 3, 6 / 7, 3 / 4])
    assert [pair.weight for pair in found] == pytest.approx([1 / 3] * 3)


def test_the_probabilities_decide_not_the_order() -> None:
    """Where both are given and disagree, the label is what was asked for: the probability, never below one half."""
    (pair, *_) = pairs(judged((A,), (B,), (C,), probs={A: 0.0, B: 1.0, C: 0.0}), labels=SOFT)
    assert pair[:2] == (1, 0) and pair.prob == 1.0
    assert pairs(judged((A,), (B,), (C,), probs={A: 0.0, B: 1.0, C: 0.0}))[0][:2] == (0, 1), "hard labels: the order"


def test_a_judgment_without_probabilities_keeps_its_order() -> None:
    assert pairs(judged((A,), (B,), (C,)), labels=SOFT) == pairs(judged((A,), (B,), (C,)))


@pytest.mark.parametrize("probs", [{}, {A: 0.5, B: 0.5}, {A: 0.5, B: 0.7, C: 1.2}, {A: -0.1, B: 0.7, C: 0.2}])
def test_probabilities_that_are_none(probs: dict[str, float]) -> None:
    with pytest.raises(DataError, match="judgment by-ann: its `probs` must give each answer a number from 0 to 1"):
        pairs(judged((A,), (B,), (C,), probs=probs), labels=SOFT)


def test_soft_labels_that_no_judgment_gives_are_refused() -> None:
    """They would change nothing, and their user would believe in them."""
    hard, soft = judged((A,), (B,), (C,)), judged((A,), (B,), (C,), rater="bot", probs={A: 0.6, B: 0.3, C: 0.1})
    with pytest.raises(ConfigError, match=r"labels\.soft: no judgment has `probs`"):
        check_soft([hard], SOFT)
    with pytest.raises(ConfigError):
        check_soft([hard, soft, judged((A,), (B,), (C,), id="later", supersedes="by-bot")], SOFT)
    check_soft([hard, soft], SOFT)
    check_soft([hard], HALF.model_copy(update={"soft": False}))


def test_ties_are_dropped_or_half() -> None:
    tied = judged((A, B), (C,))
    assert [pair[:2] for pair in pairs(tied, labels=SOFT)] == [(0, 2), (1, 2)]
    half = pairs(tied, labels=HALF)
    assert [(*pair[:2], pair.prob) for pair in half] == [(0, 1, 0.5), (0, 2, 1.0), (1, 2, 1.0)]
    assert sum(pair.weight for pair in half) == pytest.approx(1), "a judgment weighs 1 all the same"
    even = judged((A, B, C), probs={A: 0.4, B: 0.4, C: 0.2})
    assert [pair.prob for pair in pairs(even, labels=HALF)] == pytest.approx([0.5, 2 / 3, 2 / 3])
    assert [pair[:2] for pair in pairs(even, labels=SOFT)] == [(0, 2), (1, 2)]


def test_identical_texts_make_no_pair_of_any_kind() -> None:
    same = tiny.group(Prompt.ask("w1"), "w2", "w2")
    one, two = (answer.id for answer in same.answers)
    for tiers, probs in ((((one, two),), None), (((one,), (two,)), {one: 0.9, two: 0.1})):
        judgment = Judgment(id="j", group=same.id, rater="ann", tiers=tiers, probs=probs)
        assert pairs_of([same], [judgment], HALF, RATERS) == {}


def test_two_answers_of_no_probability_are_not_compared() -> None:
    found = pairs(judged((A,), (B,), (C,), probs={A: 1.0, B: 0.0, C: 0.0}), labels=HALF)
    assert [(*pair[:2], pair.prob) for pair in found] == [(0, 1, 1.0), (0, 2, 1.0)]


def test_only_the_ends() -> None:
    ranking = judged((B,), (A,), (C,))
    assert pairs(ranking, only="ends") == [(1, 2, 1.0, 0.0, 1.0)]
    tied = judged((B, A), (C,))
    assert [pair[:2] for pair in pairs(tied, labels=HALF, only="ends")] == [(0, 2), (1, 2)], "no tie within an end"
    soft = judged((B,), (A,), (C,), probs={A: 0.3, B: 0.6, C: 0.2})
    assert pairs(soft, labels=SOFT, only="ends") == [(1, 2, 1.0, 0.0, pytest.approx(0.75))]


# Raters


def test_weights_by_rater_and_by_kind() -> None:
    """A rater's own weight comes before that of his kind; 0 leaves him out; who is not named weighs 1."""
    all_three = [judged((A,), (B,), (C,), rater=name) for name in ("ann", "bot", "bob")]
    found = pairs(*all_three, labels=Labels(weights={"kind:model": 0.5, "bob": 0.0}))
    assert sorted(pair.weight for pair in found) == pytest.approx([0.5 / 3] * 3 + [1 / 3] * 3)
    assert pairs(all_three[2], labels=Labels(weights={"bob": 0.0})) == []


@pytest.mark.parametrize("name", ["carol", "kind:human2", "model"])
def test_a_weight_for_nobody_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` is no rater(.*\n)*.*kind:human, kind:model"):
        pairs(judged((A,), (B,), (C,)), labels=Labels(weights={name: 2.0}))


def test_what_stood_where_on_the_screen_does_not_matter() -> None:
    """A shown order, flipped or forgotten, changes no pair: tiers are in answers, not in places."""
    for labels in (Labels(), HALF):
        there, back, unknown = (
            pairs(judged((B,), (A, C), shown_order=order), labels=labels) for order in ((A, B, C), (C, B, A), ())
        )
        assert there == back == unknown and there
