"""Generalised advantage estimation: by hand, by a slow loop over the definition, and at its limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assent.advantages.gae import gae
from ragged import normal, poison, ragged_mask, random_mask, widen


def test_three_tokens_by_hand() -> None:
    """gamma 1/2, lambda 1/2, so gamma lambda = 1/4; worked from the last token back.

    t=2: delta = 4 + 0    - 2 = 2     A = 2                return = 4
    t=1: delta = 0 + 2/2  - 3 = -2    A = -2 + 2/4 = -1.5  return = 1.5
    t=0: delta = 1 + 3/2  - 1 = 1.5   A = 1.5 - 1.5/4 = 1.125   return = 2.125
    """
    reward_NT = torch.tensor([[1.0, 0.0, 4.0]], dtype=torch.float64)
    value_NT = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64)
    result = gae(reward_NT, value_NT, ragged_mask([3]), gamma=0.5, lam=0.5)
    assert result.advantage_NT.tolist() == [[1.125, -1.5, 2.0]]
    assert result.return_NT.tolist() == [[2.125, 1.5, 4.0]]


def test_three_tokens_as_in_rlhf() -> None:
    """gamma 1, lambda 0.95, one score at the end, and a shorter answer beside it.

    Row 0: deltas 0.1, 0.2, 0.5 (V = 0.2, 0.3, 0.5, score 1):
           A2 = 0.5; A1 = 0.2 + 0.95 * 0.5 = 0.675; A0 = 0.1 + 0.95 * 0.675 = 0.74125
    Row 1: one token, score -1, V = 0.2: A = -1.2
    """
    reward_NT = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 7.0, 7.0]], dtype=torch.float64)
    value_NT = torch.tensor([[0.2, 0.3, 0.5], [0.2, 7.0, 7.0]], dtype=torch.float64)
    advantage_NT, return_NT = gae(reward_NT, value_NT, ragged_mask([3, 1]))
    expected = torch.tensor([[0.74125, 0.675, 0.5], [-1.2, 0, 0]]).double()
    torch.testing.assert_close(advantage_NT, expected, rtol=0, atol=1e-7)
    expected = torch.tensor([[0.94125, 0.975, 1.0], [-1.0, 0, 0]]).double()
    torch.testing.assert_close(return_NT, expected, rtol=0, atol=1e-7)


def slow_gae(reward: list[float], value: list[float], gamma: float, lam: float) -> list[float]:
    """Equation 16 as written: every advantage is a sum over all later deltas, no recursion."""
    value = [*value, 0.0]
    delta = [r + gamma * value[t + 1] - value[t] for t, r in enumerate(reward)]
    return [math.fsum((gamma * lam) ** k * delta[t + k] for k in range(len(delta) - t)) for t in range(len(delta))]


def batch(seed: int, n: int = 6, t: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    return normal(n, t, seed=seed), normal(n, t, seed=seed + 1), random_mask(n, t, seed + 2)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.7, 0.0), (0.0, 0.5)])
def test_against_the_definition(gamma: float, lam: float) -> None:
    reward_NT, value_NT, mask_NT = batch(10)
    advantage_NT, return_NT = gae(reward_NT, value_NT, mask_NT, gamma, lam)
    for n, length in enumerate(mask_NT.sum(1).tolist()):
        slow = slow_gae(reward_NT[n, :length].tolist(), value_NT[n, :length].tolist(), gamma, lam)
        assert advantage_NT[n, :length].tolist() == pytest.approx(slow, abs=1e-10)
        assert not advantage_NT[n, length:].any() and not return_NT[n, length:].any()
        expected = [a + v for a, v in zip(slow, value_NT[n, :length].tolist(), strict=True)]
        assert return_NT[n, :length].tolist() == pytest.approx(expected, abs=1e-10)


def test_lambda_one_returns_are_sums_of_rewards_whatever_the_values() -> None:
    reward_NT, value_NT, mask_NT = batch(20)
    reward_NT = reward_NT.masked_fill(~mask_NT, 0)
    to_go_NT = reward_NT.flip(1).cumsum(1).flip(1)
    result = gae(reward_NT, value_NT, mask_NT, gamma=1.0, lam=1.0)
    torch.testing.assert_close(result.return_NT, to_go_NT.masked_fill(~mask_NT, 0), rtol=0, atol=1e-12)


def test_lambda_zero_is_the_td_error() -> None:
    reward_NT, value_NT, mask_NT = batch(30)
    advantage_NT = gae(reward_NT, value_NT, mask_NT, gamma=0.9, lam=0.0).advantage_NT
    next_NT = widen(value_NT.masked_fill(~mask_NT, 0), 1)[:, 1:]
    expected = (reward_NT + 0.9 * next_NT - value_NT).masked_fill(~mask_NT, 0)
    torch.testing.assert_close(advantage_NT, expected, rtol=0, atol=1e-12)


def test_true_values_leave_no_advantage() -> None:
    """If every value is the sum of what is still to come, nothing is a surprise, at any lambda."""
    reward_NT, _, mask_NT = batch(40)
    to_go_NT = reward_NT.masked_fill(~mask_NT, 0).flip(1).cumsum(1).flip(1)
    for lam in (0.0, 0.5, 1.0):
        assert gae(reward_NT, to_go_NT, mask_NT, 1.0, lam).advantage_NT.abs().max() < 1e-12


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 7), st.integers(0, 4))
def test_padding_and_row_order_change_nothing(seed: int, n: int, t: int, extra: int) -> None:
    reward_NT, value_NT, mask_NT = batch(seed, n, t)
    plain = gae(reward_NT, value_NT, mask_NT)
    dirty = [widen(poison(x, mask_NT), extra, math.nan) for x in (reward_NT, value_NT)]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = gae(dirty[0][order], dirty[1][order], widen(mask_NT, extra).bool()[order])
    for ours, theirs in zip(moved, plain, strict=True):
        assert torch.equal(ours[:, :t], theirs[order]) and not ours[:, t:].any()


def test_tokens_the_model_did_not_write_are_no_steps() -> None:
    """A gap in the middle is the same as the row without it."""
    reward_NT, value_NT, _ = batch(50, n=1, t=6)
    mask_NT = torch.tensor([[True, False, False, True, True, False]])
    gapped = gae(poison(reward_NT, mask_NT), poison(value_NT, mask_NT), mask_NT, 0.9, 0.8)
    dense = gae(reward_NT[mask_NT][None], value_NT[mask_NT][None], ragged_mask([3]), 0.9, 0.8)
    for ours, theirs in zip(gapped, dense, strict=True):
        assert torch.equal(ours[mask_NT][None], theirs) and not ours[~mask_NT].any()


def test_no_gradient_and_no_change_to_the_inputs() -> None:
    reward_NT, value_NT, mask_NT = batch(60)
    before = value_NT.clone()
    result = gae(reward_NT, value_NT.requires_grad_(), mask_NT)
    assert not result.advantage_NT.requires_grad and not result.return_NT.requires_grad
    assert torch.equal(value_NT, before)


def test_an_empty_row_gets_nothing() -> None:
    advantage_NT, return_NT = gae(torch.ones(2, 3), torch.ones(2, 3), ragged_mask([0, 2], 3))
    assert not advantage_NT[0].any() and not return_NT[0].any() and advantage_NT[1].any()


def test_refuses() -> None:
    reward_NT, value_NT, mask_NT = batch(70)
    with pytest.raises(ValueError, match="between 0 and 1"):
        gae(reward_NT, value_NT, mask_NT, lam=1.5)
    with pytest.raises(ValueError, match="value_NT has shape"):
        gae(reward_NT, value_NT[:, 0], mask_NT)
