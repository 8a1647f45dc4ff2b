"""Masked sums, whitening, explained variance."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.ops.masked import explained_variance, masked_mean, masked_sum, masked_var, whiten
from ragged import normal, poison, ragged_mask, random_mask, widen

X = torch.tensor([[1.0, 2.0, 9.0], [6.0, 9.0, 9.0]], dtype=torch.float64)
MASK = ragged_mask([2, 1], 3)  # the real numbers are 1, 2, 6


def test_by_hand() -> None:
    assert masked_sum(X, MASK).item() == 9
    assert masked_sum(X, MASK, dim=1).tolist() == [3, 6]
    assert masked_mean(X, MASK).item() == 3
    assert masked_mean(X, MASK, dim=1).tolist() == [1.5, 6]
    assert masked_var(X, MASK).item() == pytest.approx(14 / 3)  # (4 + 1 + 9) / 3, not / 2


def test_whiten_by_hand() -> None:
    std = math.sqrt(14 / 3)
    expected = [[-2 / std, -1 / std, 0], [3 / std, 0, 0]]
    torch.testing.assert_close(whiten(X, MASK), torch.tensor(expected).double(), rtol=1e-8, atol=1e-8)
    kept = whiten(X, MASK, shift_mean=False)
    assert masked_mean(kept, MASK).item() == pytest.approx(3)  # the mean stays where it was
    assert kept[0, 0].item() == pytest.approx(3 - 2 / std, abs=1e-7)


def test_against_the_standard_library() -> None:
    mask_NT, x_NT = random_mask(7, 9, seed=1), normal(7, 9, seed=2)
    numbers = [x_NT[n, t].item() for n in range(7) for t in range(9) if mask_NT[n, t]]
    assert masked_mean(x_NT, mask_NT).item() == pytest.approx(statistics.fmean(numbers), abs=1e-12)
    assert masked_var(x_NT, mask_NT).item() == pytest.approx(statistics.pvariance(numbers), abs=1e-12)


def test_no_tokens_is_nan_and_not_zero() -> None:
    assert masked_mean(X, torch.zeros_like(MASK)).isnan()
    assert masked_mean(X, ragged_mask([2, 0], 3), dim=1).isnan().tolist() == [False, True]


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e308])
@pytest.mark.parametrize("shift_mean", [True, False])
def test_padding_is_never_read(bad: float, shift_mean: bool) -> None:
    mask_NT, weight_NT = random_mask(5, 6, seed=3), normal(5, 6, seed=4)
    gradients, results = [], []
    for padding in (0.0, bad):
        x_NT = poison(normal(5, 6, seed=5), mask_NT, padding).requires_grad_()
        white_NT = whiten(x_NT, mask_NT, shift_mean)
        total = (white_NT * weight_NT).sum() + masked_mean(x_NT, mask_NT) + masked_var(x_NT, mask_NT)
        gradients += torch.autograd.grad(total, x_NT)
        results.append(white_NT)
    assert torch.equal(results[0], results[1])
    assert torch.equal(gradients[0], gradients[1])
    assert not results[1][~mask_NT].any() and not gradients[1][~mask_NT].any()


def test_whitening_does_not_see_padding_or_row_order() -> None:
    mask_NT, x_NT = random_mask(6, 5, seed=6), normal(6, 5, seed=7)
    white_NT, order = whiten(x_NT, mask_NT), torch.randperm(6, generator=torch.Generator().manual_seed(0))
    wide = whiten(widen(x_NT, 4, 1e6), widen(mask_NT, 4).bool())
    torch.testing.assert_close(wide[:, :5], white_NT, rtol=0, atol=1e-12)
    torch.testing.assert_close(whiten(x_NT[order], mask_NT[order]), white_NT[order], rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.floats(0.1, 100), st.floats(-100, 100), st.integers(0, 99))
def test_whitening_forgets_scale_and_shift(scale: float, shift: float, seed: int) -> None:
    mask_NT, x_NT = random_mask(4, 6, seed), normal(4, 6, seed=seed + 1)
    white_NT = whiten(x_NT, mask_NT)
    torch.testing.assert_close(whiten(scale * x_NT + shift, mask_NT), white_NT, rtol=1e-5, atol=1e-5)
    assert abs(masked_mean(white_NT, mask_NT).item()) < 1e-9


def test_constant_input_whitens_to_zero() -> None:
    assert not whiten(torch.full((2, 3), 5.0), MASK).any()


def test_explained_variance() -> None:
    mask_NT, return_NT = random_mask(5, 6, seed=8), normal(5, 6, seed=9)
    noise_NT = normal(5, 6, seed=10)
    assert explained_variance(return_NT, return_NT, mask_NT).item() == pytest.approx(1)
    assert explained_variance(return_NT + 3, return_NT, mask_NT).item() == pytest.approx(1)  # bias is free
    assert explained_variance(torch.zeros_like(return_NT), return_NT, mask_NT).item() == pytest.approx(0)
    assert explained_variance(-return_NT, return_NT, mask_NT).item() == pytest.approx(-3)  # 1 - Var(2R)/Var(R)
    poisoned = explained_variance(poison(noise_NT, mask_NT), poison(return_NT, mask_NT), mask_NT)
    assert poisoned.equal(explained_variance(noise_NT, return_NT, mask_NT))
    assert explained_variance(noise_NT, torch.ones_like(noise_NT), mask_NT).isnan()


def test_refuses_what_would_broadcast() -> None:
    square_NT = torch.ones(3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"x_NT has shape \(3,\)"):
        masked_sum(torch.ones(3), square_NT)
    with pytest.raises(ValueError, match="must be boolean"):
        masked_sum(torch.ones(3, 3), square_NT.long())
