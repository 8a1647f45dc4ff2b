"""The clipped value loss."""

import math

import pytest
import torch
from torch import Tensor

from assent.losses.value import value_loss
from ragged import normal, poison, ragged_mask, random_mask

# value, old value, return -> loss, d loss / d value, clipped; range 0.2
CASES = [
    (1.1, 1.0, 2.0, 0.405, -0.9, False),  # moved less than the range: plain squared error
    (1.5, 1.0, 2.0, 0.32, 0.0, True),  # moved too far towards the return: judged at 1.2, no more pull
    (0.5, 1.0, 2.0, 1.125, -1.5, False),  # moved away: pulled back with the full error
    (2.5, 1.0, 2.0, 0.32, 0.0, True),  # overshot: still judged at 1.2
]


def one(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)


@pytest.mark.parametrize(("value", "old", "target", "loss", "slope", "clipped"), CASES)
def test_by_hand(value: float, old: float, target: float, loss: float, slope: float, clipped: bool) -> None:
    value_NT = one(value).requires_grad_()
    result = value_loss(value_NT, one(old), one(target), ragged_mask([1]))
    assert result.loss_NT.item() == pytest.approx(loss)
    assert result.clipped_NT.item() is clipped
    assert torch.autograd.grad(result.loss_NT.sum(), value_NT)[0].item() == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("clip_range", [0.2, None])
def test_against_slow_loop(clip_range: float | None) -> None:
    value_NT, old_NT, return_NT = (normal(5, 6, seed=s) for s in (1, 2, 3))
    mask_NT = random_mask(5, 6, seed=4)
    loss_NT = value_loss(value_NT, old_NT, return_NT, mask_NT, clip_range).loss_NT
    for n in range(5):
        for t in range(6):
            v, old, target = (x[n, t].item() for x in (value_NT, old_NT, return_NT))
            near = v if clip_range is None else min(max(v, old - clip_range), old + clip_range)
            expected = max((v - target) ** 2, (near - target) ** 2) / 2 if mask_NT[n, t] else 0.0
            assert loss_NT[n, t].item() == pytest.approx(expected, abs=1e-10)


def test_clipping_only_ever_raises_the_loss() -> None:
    value_NT, old_NT, return_NT = (normal(5, 6, seed=s) for s in (5, 6, 7))
    mask_NT = random_mask(5, 6, seed=8)
    clipped, plain = (value_loss(value_NT, old_NT, return_NT, mask_NT, c) for c in (0.2, None))
    assert (clipped.loss_NT >= plain.loss_NT).all()
    assert torch.equal(clipped.loss_NT > plain.loss_NT, clipped.clipped_NT) and clipped.clipped_NT.any()
    assert not plain.clipped_NT.any()


def test_padding_is_never_read() -> None:
    mask_NT, results = random_mask(4, 5, seed=9), []
    for padding in (0.0, math.nan):
        value_NT, old_NT, return_NT = (poison(normal(4, 5, seed=s), mask_NT, padding) for s in (10, 11, 12))
        value_NT.requires_grad_()
        result = value_loss(value_NT, old_NT, return_NT, mask_NT)
        results.append((*result, torch.autograd.grad(result.loss_NT.sum(), value_NT)[0]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_only_the_value_gets_a_gradient() -> None:
    inputs = [normal(3, 4, seed=s).requires_grad_() for s in (13, 14, 15)]
    loss_NT = value_loss(*inputs, random_mask(3, 4, seed=16)).loss_NT
    gradients = torch.autograd.grad(loss_NT.sum(), inputs, allow_unused=True)
    assert gradients[0] is not None and gradients[1:] == (None, None)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="clip_range must be above 0"):
        value_loss(one(0), one(0), one(0), ragged_mask([1]), clip_range=0.0)
    with pytest.raises(ValueError, match="old_value_NT has shape"):
        value_loss(one(0), torch.zeros(1), one(0), ragged_mask([1]))
