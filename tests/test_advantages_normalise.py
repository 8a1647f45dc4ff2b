"""Running reward scale and clipping."""

import json
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.advantages.normalise import RewardNormaliser, clip_rewards

rewards = st.lists(st.floats(-1000, 1000), min_size=2, max_size=30)


def seen(*batches: list[float]) -> RewardNormaliser:
    normaliser = RewardNormaliser()
    for batch in batches:
        normaliser.update(torch.tensor(batch, dtype=torch.float64))
    return normaliser


def test_by_hand() -> None:
    normaliser = seen([2.0, 4.0], [4.0, 4.0, 5.0], [], [5.0, 7.0, 9.0])  # a textbook case: mean 5, std 2
    assert (normaliser.count, normaliser.mean) == (8, pytest.approx(5))
    assert normaliser.std == pytest.approx(2)
    reward_N = torch.tensor([5.0, 9.0, -4.0])
    torch.testing.assert_close(normaliser.apply(reward_N), torch.tensor([2.5, 4.5, -2.0]))
    torch.testing.assert_close(normaliser.apply(reward_N, shift=True), torch.tensor([0.0, 2.0, -4.5]))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(rewards, st.integers(0, 30), st.integers(0, 30))
def test_any_cut_gives_the_statistics_of_the_whole(numbers: list[float], cut: int, split: int) -> None:
    parts = seen(numbers[:cut], numbers[cut:])
    ranks = seen(numbers[:split])
    ranks.merge(seen(numbers[split:]))
    spread = statistics.pstdev(numbers)
    for normaliser in (parts, ranks):
        assert normaliser.count == len(numbers)
        assert normaliser.mean == pytest.approx(statistics.fmean(numbers), abs=1e-9)
        if spread > 1e-6:
            assert normaliser.std == pytest.approx(spread, rel=1e-6)


def test_a_large_offset_does_not_eat_the_spread() -> None:
    """Sum of squares minus square of sums would lose all digits here."""
    assert seen([1e9, 1e9 + 1], [1e9 + 2, 1e9 + 3]).std == pytest.approx(math.sqrt(1.25), abs=1e-6)


@pytest.mark.parametrize("batches", [[], [[3.0]], [[0.1] * 7, [0.1] * 3]])
def test_without_spread_nothing_is_divided(batches: list[list[float]]) -> None:
    normaliser = seen(*batches)
    assert normaliser.std == 1
    assert normaliser.apply(torch.tensor([0.25])).item() == 0.25


def test_scaling_keeps_signs_and_dtype() -> None:
    normaliser = seen([10.0, 12.0, 14.0])
    reward_N = torch.tensor([-1.0, 0.0, 1.0])
    scaled_N = normaliser.apply(reward_N)
    assert torch.equal(scaled_N.sign(), reward_N) and scaled_N.dtype == torch.float32


def test_state_survives_json_and_continues_exactly() -> None:
    normaliser = seen([0.1, 0.7, -2.3], [1 / 3])
    copy = RewardNormaliser()
    copy.load_state_dict(json.loads(json.dumps(normaliser.state_dict())))
    for each in (normaliser, copy):
        each.update(torch.tensor([0.2, 9.1]))
    assert copy.state_dict() == normaliser.state_dict()
    assert copy.std == normaliser.std


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_a_missing_reward(bad: float) -> None:
    normaliser = seen([1.0, 2.0])
    before = normaliser.state_dict()
    with pytest.raises(ValueError, match="NaN or infinite"):
        normaliser.update(torch.tensor([1.0, bad]))
    assert normaliser.state_dict() == before


def test_clipping() -> None:
    assert clip_rewards(torch.tensor([-12.0, 3.0, 10.5]), 10.0).tolist() == [-10, 3, 10]
    with pytest.raises(ValueError, match="above 0"):
        clip_rewards(torch.zeros(1), 0.0)
