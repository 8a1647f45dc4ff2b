"""Group-relative advantages: by hand, missing scores, groups that say nothing, invariances."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from assent.advantages.group import flat_groups, group_advantages, group_std, leave_one_out


def table(*groups: list[float | None]) -> tuple[Tensor, Tensor]:
    """Scores, NaN where missing, and whether each is known."""
    known_GK = torch.tensor([[s is not None for s in group] for group in groups])
    score_GK = torch.tensor([[math.nan if s is None else s for s in group] for group in groups], dtype=torch.float64)
    return score_GK, known_GK


def credit(*groups: list[float | None], scale: str = "group") -> Tensor:
    return group_advantages(*table(*groups), scale)


def rows(*groups: list[float]) -> Tensor:
    return torch.tensor(groups, dtype=torch.float64)


def test_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1. One right of four: mean 1/4, deviation 1/2 (squares sum to 3/4, over 3)."""
    found = credit([1, 2, 3], [3, 2, 1])
    torch.testing.assert_close(found, rows([-1, 0, 1], [1, 0, -1]) / 1.0001)
    found = credit([1, 0, 0, 0])
    torch.testing.assert_close(found, rows([0.75, -0.25, -0.25, -0.25]) / 0.5001)
    assert flat_groups(*table([1, 0, 0, 0])).tolist() == [False]


def test_missing_scores_are_out_of_mean_and_deviation() -> None:
    """Scores 1, ?, 3: as the group 1, 3, whose deviation is sqrt 2; what was not scored gets 0, never NaN."""
    found = credit([1, None, 3])
    one = 1 / (math.sqrt(2) + 1e-4)
    torch.testing.assert_close(found, rows([-one, 0, one]))


@pytest.mark.parametrize(
    "group", [[0.1, 0.1, 0.1], [5.0, None, 5.0], [None, 7.0, None], [None, None, None], [0.1 + 0.2, 0.3, 0.3]]
)
def test_a_group_that_says_nothing_gets_exactly_0_and_is_counted(group: list[float | None]) -> None:
    """The mean of 0.1, 0.1, 0.1 is not 0.1 in floating point, nor 0.1 + 0.2 the same as 0.3: no signal of rounding."""
    for scale in ("group", "batch", "none"):
        found = credit(group, [0.0, 1.0, 2.0], scale=scale)
        assert found[0].tolist() == [0.0, 0.0, 0.0] and found[1].any()
    assert not leave_one_out(*table(group)).any()
    assert flat_groups(*table(group, [0.0, 1.0, 2.0])).tolist() == [True, False]
    assert group_std(*table(group, [0.0, 1.0, 2.0])).tolist() == [0.0, 1.0]


def test_against_the_standard_library() -> None:
    seed = 5
    print(f"seed {seed}")
    score_GK = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = group_advantages(score_GK, torch.ones(6, 5, dtype=torch.bool))
    for ours, group in zip(found.tolist(), score_GK.tolist(), strict=True):
        mean, std = statistics.fmean(group), statistics.stdev(group)
        assert ours == pytest.approx([(s - mean) / (std + 1e-4) for s in group], abs=1e-12)


def test_only_differences_within_a_group_count() -> None:
    """A prompt that is easy for everyone moves nothing, nor does a neighbour; doubled differences hardly do."""
    alone = credit([1, 2, 5])
    torch.testing.assert_close(credit([101, 102, 105], [9, 0, 0])[:1], alone)
    doubled = credit([2, 4, 10])
    torch.testing.assert_close(doubled, alone, rtol=1e-4, atol=0)
    assert (doubled.abs() > alone.abs()).all()  # the floor of 1e-4 matters less


def test_a_hair_of_difference_is_not_blown_up() -> None:
    """Scores 1e-4 apart: far less than the advantage of 0.7 that a deviation without floor would give."""
    found = credit([0.0, 1e-4])
    half, std = 0.5e-4, 1e-4 / math.sqrt(2)
    torch.testing.assert_close(found, rows([-half, half]) / (std + 1e-4))


def test_no_gradient_and_no_broadcasting() -> None:
    score_GK = torch.tensor([[1.0, 2.0]], requires_grad=True)
    known_GK = torch.ones(1, 2, dtype=torch.bool)
    assert not group_advantages(score_GK, known_GK).requires_grad
    assert not leave_one_out(score_GK, known_GK).requires_grad
    with pytest.raises(ValueError, match="score_GK has shape"):
        group_advantages(torch.zeros(2), torch.ones(1, 2, dtype=torch.bool))


def test_other_scales_by_hand() -> None:
    """1, 3 and 0, 0 (and one that is missing): all of them have mean 1 and squares 0, 4, 1, 1, over 3: root 2."""
    groups = ([1, 3, None], [0, None, 0])
    torch.testing.assert_close(credit(*groups, scale="none"), rows([-1, 1, 0], [0, 0, 0]))
    one = 1 / (math.sqrt(2) + 1e-4)
    torch.testing.assert_close(credit(*groups, scale="batch"), rows([-one, one, 0], [0, 0, 0]))
    with pytest.raises(ValueError, match="scale must be"):
        credit([1, 2], scale="batches")


def test_the_batchs_deviation_by_the_standard_library() -> None:
    seed = 6
    print(f"seed {seed}")
    score_GK = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = group_advantages(score_GK, torch.ones(6, 5, dtype=torch.bool), "batch")
    std = statistics.stdev(score_GK.flatten().tolist())
    for ours, group in zip(found.tolist(), score_GK.tolist(), strict=True):
        assert ours == pytest.approx([(s - statistics.fmean(group)) / (std + 1e-4) for s in group], abs=1e-12)


def test_a_group_that_hardly_differs_counts_little_in_the_batchs_deviation() -> None:
    """By the group's own deviation both groups count alike."""
    groups = ([0.0, 1.0], [0.0, 0.1])
    own, whole = credit(*groups), credit(*groups, scale="batch")
    assert own[1, 1] > 0.99 * own[0, 1]
    assert whole[1, 1] == pytest.approx(0.1 * float(whole[0, 1]), rel=1e-12)


def test_leave_one_out_by_hand() -> None:
    """1, 2, 6: the others have means 4, 3.5, 1.5. With 2 missing, each is the other's baseline."""
    torch.testing.assert_close(leave_one_out(*table([1, 2, 6])), rows([-3, -1.5, 4.5]))
    torch.testing.assert_close(leave_one_out(*table([1, None, 6])), rows([-5, 0, 5]))


def test_leave_one_out_against_a_slow_loop() -> None:
    seed = 7
    print(f"seed {seed}")
    score_GK = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    known_GK = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)) < 0.8
    found = leave_one_out(score_GK, known_GK).tolist()
    for g in range(4):
        for k in range(5):
            others = [float(score_GK[g, j]) for j in range(5) if j != k and known_GK[g, j]]
            lead = float(score_GK[g, k]) - statistics.fmean(others) if known_GK[g, k] and others else 0.0
            assert found[g][k] == pytest.approx(lead, abs=1e-12)


def test_its_own_score_does_not_move_an_answers_baseline() -> None:
    """What leave-one-out is for: a score raised by one raises its advantage by one, whatever the group's size."""
    for k in (2, 3, 8):
        score_GK = torch.arange(float(k)).view(1, k) ** 2
        raised_GK = score_GK.clone()
        raised_GK[0, 1] += 1
        known_GK = torch.ones(1, k, dtype=torch.bool)
        assert (leave_one_out(raised_GK, known_GK) - leave_one_out(score_GK, known_GK))[0, 1] == pytest.approx(1)
