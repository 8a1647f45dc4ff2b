"""The soft punishment of answers near the limit of their length."""

import pytest
import torch

from assent.advantages.overlong import overlong_penalty


def test_by_hand() -> None:
    """At most 10 tokens, the last 4 of them cost: nothing up to 6, then a quarter a token."""
    length_N = torch.tensor([0, 1, 6, 7, 8, 9, 10, 12])
    assert overlong_penalty(length_N, 10, 4).tolist() == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_the_papers_three_cases() -> None:
    """DAPO, eq. 13, written as there: what is added to the reward."""
    most, cache = 20480, 4096
    for length in (1, 16384, 16385, 18000, 20479, 20480, 20481):
        if length <= most - cache:
            added = 0.0
        elif length <= most:
            added = ((most - cache) - length) / cache
        else:
            added = -1.0
        assert -float(overlong_penalty(torch.tensor([length]), most, cache)) == pytest.approx(added, abs=1e-7)


def test_bounds() -> None:
    """Over the whole length it is the length's share; one token: only who reaches the limit pays."""
    assert overlong_penalty(torch.tensor([1, 2, 4]), 4, 4).tolist() == [0.25, 0.5, 1]
    assert overlong_penalty(torch.tensor([3, 4]), 4, 1).tolist() == [0, 1]
    for last in (0, 5):
        with pytest.raises(ValueError, match="between 1 and"):
            overlong_penalty(torch.tensor([1]), 4, last)
