"""Cutting a batch by a token budget: every group once, no piece too large."""

from hypothesis import given, settings
from hypothesis import strategies as st

from assent.data.collate import TokenGroup
from assent.engine.budget import cut
from assent.engine.packed import Packed

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
        size = len(Packed([groups[i] for i in piece], "cpu").ids_Q)  # what really goes through the model
        assert size <= budget or len(piece) == 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=25), st.integers(31, 400))
def test_pieces_are_of_about_one_size(answers: list[int], budget: int) -> None:
    """No forward for a crumb: each piece but the last holds its share, less one row at most."""
    groups = made([(1, [n]) for n in answers])
    sizes = [sum(groups[i].tokens for i in piece) for piece in cut(groups, budget)]
    total = sum(g.tokens for g in groups)
    assert all(size >= min(total / -(-total // budget), budget - 31) for size in sizes[:-1])


def test_short_ones_first_and_a_prompt_counts_once() -> None:
    """By hand: groups of 2, 20, 2 and 20 tokens; then two of 20 + 3."""
    groups = made([(1, [1]), (10, [10]), (1, [1]), (10, [10])])
    assert cut(groups, 24) == [[0, 2, 1], [3]]
    assert cut(groups, 22) == [[0, 2], [1], [3]]
    assert cut(made([(20, [1, 1, 1])] * 2), 46) == [[0, 1]]


def test_nothing_to_cut() -> None:
    assert cut([], 100) == []
