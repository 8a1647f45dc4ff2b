"""PPO's policy loss: hand-worked clip cases, a slow loop, limits."""

import math

import pytest
import torch
from torch import Tensor

from assent.losses.ppo import PolicyLoss, policy_loss
from ragged import normal, poison, ragged_mask, random_mask

# ratio, advantage -> loss, d loss / d logp (= ratio * d loss / d ratio), low, high; clip 0.2 / 0.28, dual 3
CASES = [
    (1.0, 2.0, -2.0, -2.0, False, False),  # on-policy: the plain policy gradient
    (1.1, 2.0, -2.2, -2.2, False, False),  # inside
    (1.5, 2.0, -2.56, 0.0, False, True),  # good and already likelier: 1.28 * 2, no more push
    (0.5, 2.0, -1.0, -1.0, False, False),  # good but rarer: pushed back up, never clipped
    (0.5, -2.0, 1.6, 0.0, True, False),  # bad and already rarer: 0.8 * 2, no more push
    (1.5, -2.0, 3.0, 3.0, False, False),  # bad but likelier: pushed down
    (4.0, -2.0, 6.0, 0.0, False, True),  # bad and exploded: the dual clip, 3 * 2
    (4.0, 0.0, 0.0, 0.0, False, False),  # no advantage: nothing to learn
]


def one(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)


@pytest.mark.parametrize(("ratio", "advantage", "loss", "slope", "low", "high"), CASES)
def test_by_hand(ratio: float, advantage: float, loss: float, slope: float, low: bool, high: bool) -> None:
    logp_NT = one(math.log(ratio) - 1).requires_grad_()
    mask_NT = ragged_mask([1])
    result = policy_loss(logp_NT, one(-1), one(advantage), mask_NT, 0.2, 0.28, dual_clip=3.0)
    assert result.loss_NT.item() == pytest.approx(loss)
    assert result.ratio_NT.item() == pytest.approx(ratio)
    assert (result.clipped_low_NT.item(), result.clipped_high_NT.item()) == (low, high)
    assert torch.autograd.grad(result.loss_NT.sum(), logp_NT)[0].item() == pytest.approx(slope)


def test_without_dual_clip_the_loss_is_not_bounded() -> None:
    result = policy_loss(one(math.log(4)), one(0), one(-2), ragged_mask([1]))
    assert result.loss_NT.item() == pytest.approx(8)
    assert not result.clipped_high_NT.item()


def slow(logp: float, old: float, a: float, low: float, high: float, dual: float) -> float:
    ratio = math.exp(logp - old)
    objective = min(ratio * a, max(min(ratio, 1 + high), 1 - low) * a)
    return -max(objective, dual * a) if a < 0 else -objective


def batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logp_NT = -normal(6, 7, seed=seed).abs()
    old_NT, advantage_NT = logp_NT + 0.8 * normal(6, 7, seed=seed + 1), normal(6, 7, seed=seed + 2)
    return logp_NT, old_NT, advantage_NT, random_mask(6, 7, seed + 3)


@pytest.mark.parametrize("seed", [10, 20, 30])
def test_against_slow_loop(seed: int) -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = batch(seed)
    result = policy_loss(logp_NT, old_NT, advantage_NT, mask_NT, 0.1, 0.3, dual_clip=1.5)
    for n in range(6):
        for t in range(7):
            x = (logp_NT[n, t].item(), old_NT[n, t].item(), advantage_NT[n, t].item())
            expected = slow(*x, 0.1, 0.3, 1.5) if mask_NT[n, t] else 0.0
            assert result.loss_NT[n, t].item() == pytest.approx(expected, abs=1e-10)
    assert result.clipped_low_NT.any() and result.clipped_high_NT.any()


def test_a_clipped_token_is_one_without_gradient() -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = batch(40)
    logp_NT.requires_grad_()
    result = policy_loss(logp_NT, old_NT, advantage_NT, mask_NT, dual_clip=1.6)
    (gradient,) = torch.autograd.grad(result.loss_NT.sum(), logp_NT)
    assert torch.equal((gradient == 0) & mask_NT, result.clipped_low_NT | result.clipped_high_NT)


def test_step_zero() -> None:
    """Both policies from one pass: ratio exactly 1, nothing clipped, gradient -A on each token."""
    logp_NT, _, advantage_NT, mask_NT = batch(50)
    logp_NT.requires_grad_()
    result = policy_loss(logp_NT, logp_NT.detach().clone(), advantage_NT, mask_NT)
    assert (result.ratio_NT == 1).all()
    assert not (result.clipped_low_NT | result.clipped_high_NT).any()
    (gradient,) = torch.autograd.grad(result.loss_NT.sum(), logp_NT)
    assert torch.equal(gradient, -advantage_NT.masked_fill(~mask_NT, 0))


def test_wide_bounds_are_the_unclipped_loss() -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = batch(60)
    result = policy_loss(logp_NT, old_NT, advantage_NT, mask_NT, 1.0, 1e9)
    expected = -(advantage_NT * (logp_NT - old_NT).exp()).masked_fill(~mask_NT, 0)
    torch.testing.assert_close(result.loss_NT, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_padding_is_never_read(bad: float) -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = batch(70)
    importance_NT = normal(6, 7, seed=74).abs()
    results: list[tuple[PolicyLoss, Tensor]] = []
    for padding in (0.0, bad):
        inputs = [poison(x, mask_NT, padding) for x in (logp_NT, old_NT, advantage_NT, importance_NT)]
        inputs[0].requires_grad_()
        result = policy_loss(*inputs[:3], mask_NT, dual_clip=3.0, importance_NT=inputs[3])
        results.append((result, torch.autograd.grad(result.loss_NT.sum(), inputs[0])[0]))
    (clean, clean_gradient), (dirty, dirty_gradient) = results
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))
    assert torch.equal(clean_gradient, dirty_gradient)
    assert (dirty.ratio_NT[~mask_NT] == 1).all()
    assert not dirty.loss_NT[~mask_NT].any() and not dirty_gradient[~mask_NT].any()


def test_only_the_new_policy_gets_a_gradient() -> None:
    inputs = [x.requires_grad_() for x in batch(80)[:3]]
    mask_NT, importance_NT = batch(80)[3], torch.ones(6, 7).double().requires_grad_()
    loss_NT = policy_loss(*inputs, mask_NT, importance_NT=importance_NT).loss_NT
    gradients = torch.autograd.grad(loss_NT.sum(), [*inputs, importance_NT], allow_unused=True)
    assert gradients[0] is not None and gradients[1:] == (None, None, None)


def test_importance_multiplies_the_loss_and_not_the_clip() -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = batch(90)
    plain = policy_loss(logp_NT, old_NT, advantage_NT, mask_NT)
    weight_NT = torch.rand(6, 7, generator=torch.Generator().manual_seed(1)).double() * 2
    weighted = policy_loss(logp_NT, old_NT, advantage_NT, mask_NT, importance_NT=weight_NT)
    torch.testing.assert_close(weighted.loss_NT, weight_NT * plain.loss_NT, rtol=0, atol=1e-14)
    assert all(torch.equal(a, b) for a, b in zip(weighted[1:], plain[1:], strict=True))


def test_a_broken_ratio_does_not_overflow() -> None:
    logp_NT = torch.tensor([[0.0, -1000.0]], requires_grad=True)  # fp32
    old_NT, ones = torch.tensor([[-1000.0, 0.0]]), torch.ones(1, 2)
    for sign in (1, -1):
        result = policy_loss(logp_NT, old_NT, sign * ones, ones.bool())
        (gradient,) = torch.autograd.grad(result.loss_NT.sum(), logp_NT)
        assert result.loss_NT.isfinite().all() and gradient.isfinite().all()


def test_gradcheck() -> None:
    logp_NT, old_NT, advantage_NT, mask_NT = (x[:3, :4] for x in batch(100))
    logp_NT = logp_NT.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: policy_loss(x, old_NT, advantage_NT, mask_NT, dual_clip=2.0).loss_NT, logp_NT
    )


def test_refuses() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        policy_loss(one(0), one(0), one(0), ragged_mask([1]), clip_low=-0.2)
    with pytest.raises(ValueError, match="dual_clip must be above 1"):
        policy_loss(one(0), one(0), one(0), ragged_mask([1]), dual_clip=0.5)
    with pytest.raises(ValueError, match=r"advantage_NT has shape \(1,\)"):
        policy_loss(one(0), one(0), torch.zeros(1), ragged_mask([1]))
