"""The pairwise reward-model loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.losses.reward import centring_loss, pair_loss, pair_weights
from ragged import normal

rewards = st.floats(-20, 20)


def one(x: float) -> torch.Tensor:
    return torch.tensor([x], dtype=torch.float64)


def test_by_hand() -> None:
    assert pair_loss(one(3.0), one(3.0)).item() == pytest.approx(math.log(2))
    assert pair_loss(one(math.log(3)), one(0.0)).item() == pytest.approx(math.log(4 / 3))  # P(w) = 3/4
    # A lead of ln 3 with a margin of ln 3 is a draw.
    assert pair_loss(one(math.log(3)), one(0.0), margin_P=one(math.log(3))).item() == pytest.approx(math.log(2))
    soft = pair_loss(one(math.log(3)), one(0.0), prob_w_P=one(0.75)).item()
    assert soft == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))  # its own entropy


@settings(deadline=None, max_examples=50, derandomize=True)
@given(rewards, rewards, st.floats(0, 3), st.floats(0, 1), st.floats(-50, 50))
def test_symmetries(w: float, l: float, margin: float, prob: float, shift: float) -> None:
    loss = pair_loss(one(w), one(l), one(margin), one(prob))
    swapped = pair_loss(one(l), one(w), one(margin), one(1 - prob))
    torch.testing.assert_close(swapped, loss, rtol=0, atol=1e-10)
    shifted = pair_loss(one(w + shift), one(l + shift), one(margin), one(prob))
    torch.testing.assert_close(shifted, loss, rtol=0, atol=1e-10)
    certain = pair_loss(one(w), one(l), one(margin), one(1.0))
    torch.testing.assert_close(certain, pair_loss(one(w), one(l), one(margin)), rtol=0, atol=1e-12)


def test_soft_label_is_fitted_exactly() -> None:
    """The gradient vanishes where sigmoid(r_w - r_l) is the label, and only there."""
    for prob in (0.1, 0.5, 0.8):
        lead = one(math.log(prob / (1 - prob))).requires_grad_()
        (gradient,) = torch.autograd.grad(pair_loss(lead, one(0.0), prob_w_P=one(prob)).sum(), lead)
        assert abs(gradient.item()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gap_of_ten_thousand_does_not_overflow(dtype: torch.dtype) -> None:
    w_P = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    for prob_P in (None, torch.tensor([0.9, 0.9], dtype=dtype)):
        loss_P = pair_loss(w_P, torch.zeros(2, dtype=dtype), prob_w_P=prob_P)
        (gradient,) = torch.autograd.grad(loss_P.sum(), w_P)
        assert loss_P.isfinite().all() and gradient.isfinite().all()
    hard_P = pair_loss(w_P, torch.zeros(2, dtype=dtype))
    assert hard_P[0].item() == 0 and hard_P[1].item() == pytest.approx(1e4, rel=0.01)


def test_centring() -> None:
    torch.testing.assert_close(centring_loss(one(2.0), one(1.0), 0.01), one(0.09))
    w_P, l_P = one(5.0).requires_grad_(), one(4.0).requires_grad_()
    for _ in range(300):
        loss = (pair_loss(w_P, l_P) + centring_loss(w_P, l_P, 0.1)).sum()
        for x, gradient in zip((w_P, l_P), torch.autograd.grad(loss, (w_P, l_P)), strict=True):
            x.data -= 0.5 * gradient
    assert (w_P + l_P).abs().item() < 1e-6 and (w_P - l_P).item() > 1  # centred, and the order is kept


def test_pairs_of_one_judgment_weigh_as_much_as_one() -> None:
    judgment_P = torch.tensor([7, 7, 7, 2, 9, 9])
    weight_P = pair_weights(judgment_P, torch.float64)
    torch.testing.assert_close(weight_P, torch.tensor([1, 1, 1, 3, 1.5, 1.5]).double() / 3)
    assert weight_P.sum().item() == pytest.approx(3)  # the number of judgments
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    assert torch.equal(pair_weights(judgment_P[order], torch.float64), weight_P[order])


def test_gradcheck() -> None:
    w_P, l_P = normal(4, seed=1).requires_grad_(), normal(4, seed=2).requires_grad_()
    margin_P, prob_P = normal(4, seed=3).abs(), torch.sigmoid(normal(4, seed=4))
    assert torch.autograd.gradcheck(lambda w, l: pair_loss(w, l, margin_P, prob_P), (w_P, l_P))


def test_refuses_rewards_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(3,\)"):
        pair_loss(torch.zeros(3, 1), torch.zeros(3))
