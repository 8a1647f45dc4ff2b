"""cDPO: by hand, its limit, and the finite lead at which it rests."""

import math

import pytest
import torch

from assent.losses.cdpo import cdpo
from assent.losses.dpo import dpo
from test_losses_dpo import pairs


def test_by_hand() -> None:
    """A lead of 1, a tenth of the labels wrong."""
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    torch.testing.assert_close(cdpo(pairs(0.5), pairs(-0.5), 0.1), pairs(0.9 * right + 0.1 * wrong))


def test_without_smoothing_it_is_dpo_and_with_it_is_not() -> None:
    w, l = pairs(0.3, -2.0, 5.0), pairs(1.0, -4.0, 0.0)
    assert cdpo(w, l, 0.0).equal(dpo(w, l))
    assert (cdpo(w, l, 0.1) - dpo(w, l)).abs().min() > 0.01


@pytest.mark.parametrize("smoothing", [0.05, 0.1, 0.3])
def test_it_rests_at_the_log_odds_of_a_right_label(smoothing: float) -> None:
    """log((1 - e) / e): below it the lead is widened, above it narrowed."""
    best = math.log((1 - smoothing) / smoothing)
    w = pairs(best - 0.1, best, best + 0.1).requires_grad_()
    cdpo(w, torch.zeros_like(w), smoothing).sum().backward()
    assert w.grad is not None
    below, at, above = w.grad.tolist()
    assert below < -1e-3 and abs(at) < 1e-12 and above > 1e-3


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0, math.nan])
def test_labels_that_say_nothing_or_the_opposite_are_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        cdpo(pairs(0), pairs(0), smoothing)
