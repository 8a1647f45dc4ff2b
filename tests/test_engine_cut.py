"""Cutting a batch by a token budget: every group once, no piece too large."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from assent.data.collate import TokenGroup, collate
from assent.engine.score import cut

LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(1, 20), min_size=1, max_size=4)), max_size=25)


def made(lengths: list[tuple[int, list[int]]]) -> list[TokenGroup]:
    return [
        TokenGroup(
            f"g{i}",
            (3,) * p,
            tuple((4,) * a for a in answers),
            tuple(f"{i}/{k}" for k in range(len(answers))),
        )
        for i, (p, answers) in enumerate(lengths)
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 400))
def test_every_group_once_and_within_the_budget(lengths: list[tuple[int, list[int]]], budget: int) -> None:
    groups = made(lengths)
    pieces = cut(groups, budget)
    assert sorted(i for piece in pieces for i in piece) == list(range(len(groups)))
    for piece in pieces:
        size = collate([groups[i] for i in piece]).ids_NS.numel()  # what really goes through the model
        assert size <= budget or len(piece) == 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 400))
def test_no_two_neighbours_fit_into_one(lengths: list[tuple[int, list[int]]], budget: int) -> None:
    """The next group was put into a new piece because it did not fit into the last one."""
    groups = made(lengths)
    pieces = cut(groups, budget)
    for piece, following in pairwise(pieces):
        assert collate([groups[i] for i in [*piece, following[0]]]).ids_NS.numel() > budget


def test_similar_lengths_go_together() -> None:
    """By hand: short rows (2 tokens) and long ones (20) never share a piece of 40."""
    groups = made([(1, [1]), (10, [10]), (1, [1]), (10, [10])])
    assert [sorted(piece) for piece in cut(groups, 40)] == [[0, 2], [1, 3]]


def test_nothing_to_cut() -> None:
    assert cut([], 100) == []
