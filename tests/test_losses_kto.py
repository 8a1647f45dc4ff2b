"""KTO: by hand, its bounds, that the two answers know nothing of each other, and its reference point."""

import math

import pytest
import torch

from assent.losses.kto import kto, mismatched_kl
from test_losses_dpo import pairs


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_by_hand() -> None:
    """Rewards 2 and -1 from a baseline of 0.5; good answers count 1.5, bad ones 0.5."""
    expected = (1.5 * (1 - sigmoid(2 - 0.5)) + 0.5 * (1 - sigmoid(0.5 + 1))) / 2
    torch.testing.assert_close(kto(pairs(2), pairs(-1), 0.5, 1.5, 0.5), pairs(expected))


def test_it_is_bounded_both_ways() -> None:
    found = kto(pairs(500, -500), pairs(-500, 500), 0.0, 1.0, 2.0)
    torch.testing.assert_close(found, pairs(0, 1.5))


def test_neither_answer_changes_what_the_other_learns() -> None:
    gradients = []
    for other in (-3.0, 4.0):
        w = pairs(0.7).requires_grad_()
        kto(w, pairs(other), 0.2, 1.0, 1.0).sum().backward()
        assert w.grad is not None
        gradients.append(w.grad.item())
    assert gradients[0] == gradients[1] == pytest.approx(-sigmoid(0.5) * (1 - sigmoid(0.5)) / 2)


def test_the_reference_point_is_a_mean_that_is_never_negative_and_has_no_gradient() -> None:
    logp_M = pairs(-1, -4).requires_grad_()
    point = mismatched_kl(logp_M, pairs(-3, -5))
    assert point == pytest.approx(1.5) and isinstance(point, float)
    assert mismatched_kl(pairs(-3, -5), pairs(-1, -4)) == 0.0


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a pair"):
        kto(pairs(0, 1), pairs(0), 0.0, 1.0, 1.0)
