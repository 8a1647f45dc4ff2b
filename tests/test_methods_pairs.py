"""Pairs of answers: from scores, without the answers nobody asks about, and as tensors."""

import math

import pytest
import torch

from assent.data.collate import TokenGroup
from assent.methods.pairs import Pair, RankedItem, pair_table, pairs_by_score, used, won


def test_all_pairs_by_score() -> None:
    """Scores 2, none, 1, 2, 0: the two best are a tie."""
    found = pairs_by_score([2.0, None, 1.0, 2.0, 0.0], "abcde")
    assert {(p.better, p.worse) for p in found} == {(0, 2), (3, 2), (0, 4), (3, 4), (2, 4)}
    assert {p.weight for p in found} == {1 / 5} and {p.prob for p in found} == {1.0}


def test_the_best_against_the_worst() -> None:
    found = pairs_by_score([2.0, None, 1.0, 2.0, 0.0], "abcde", "ends")
    assert {(p.better, p.worse, p.weight) for p in found} == {(0, 4, 0.5), (3, 4, 0.5)}


def test_soft_labels_are_the_bradley_terry_models() -> None:
    """A lead of log 3 is right three times in four; one of log 9, nine times in ten."""
    found = pairs_by_score([math.log(3), 0.0, math.log(9)], "abc", soft=True)
    assert {(p.better, p.worse): pytest.approx(p.prob) for p in found} == {(0, 1): 0.75, (2, 1): 0.9, (2, 0): 0.75}


@pytest.mark.parametrize("only", ["all", "ends"])
def test_ties_missing_scores_and_equal_answers_make_no_pair(only: str) -> None:
    assert pairs_by_score([1.0, 1.0, 1.0], "abc", only) == ()
    assert pairs_by_score([None, 1.0, None], "abc", only) == ()
    assert pairs_by_score([None, None], "ab", only) == ()
    assert pairs_by_score([1.0, 2.0], "aa", only) == ()  # a reward that is not sure of itself


def test_answers_in_no_pair_are_left_out() -> None:
    group = TokenGroup("g", (6,), ((7,), (8, 9), (10,), (11,)), ("a", "b", "c", "d"))
    item = used(RankedItem(group, (Pair(3, 1, 0.5, 0.2, 0.7), Pair(1, 3, 0.5))))
    assert item.group == TokenGroup("g", (6,), ((8, 9), (11,)), ("b", "d"))
    assert item.pairs == (Pair(1, 0, 0.5, 0.2, 0.7), Pair(0, 1, 0.5))


def test_the_table_of_several_groups() -> None:
    one = RankedItem(TokenGroup("g", (6,), ((7,), (8,)), ("a", "b")), (Pair(1, 0, 1.0),))
    two = RankedItem(
        TokenGroup("h", (6,), ((7,), (8,), (9,)), ("a", "b", "c")), (Pair(0, 2, 0.5), Pair(2, 1, 0.5, 0.1))
    )
    table = pair_table([one, two], torch.zeros(5, dtype=torch.float64))
    assert table.w_P.tolist() == [1, 2, 4] and table.l_P.tolist() == [0, 4, 3]
    assert table.weight_P.tolist() == [1.0, 0.5, 0.5] and table.margin_P.tolist() == [0.0, 0.0, 0.1]
    assert table.soft is None and table.decided.equal(table.weight_P)
    tie = RankedItem(two.group, (Pair(0, 1, 0.5, prob=0.5), Pair(0, 2, 0.5, prob=0.9)))
    soft = pair_table([one, tie], torch.zeros(5))
    assert soft.soft is not None and soft.soft.tolist() == pytest.approx([1.0, 0.5, 0.9])
    assert soft.decided.tolist() == [1.0, 0.0, 0.5]


def test_neither_ahead_is_half_won() -> None:
    assert won(torch.tensor([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]
