"""Robust DPO: by hand, and that it sees through flipped labels, which cDPO does not."""

import math

import pytest
import torch

from assent.losses.cdpo import cdpo
from assent.losses.dpo import dpo
from assent.losses.robust import robust
from test_losses_dpo import pairs


def test_by_hand() -> None:
    """A lead of 1, a tenth of the labels wrong."""
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    torch.testing.assert_close(robust(pairs(0.5), pairs(-0.5), 0.1), pairs((0.9 * right - 0.1 * wrong) / 0.8))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_its_mean_over_flipped_labels_is_dpo_on_the_true_ones(smoothing: float) -> None:
    w, l = pairs(0.3, -2.0, 5.0), pairs(1.0, -4.0, 0.0)

    def flipped(loss) -> torch.Tensor:
        return (1 - smoothing) * loss(w, l, smoothing) + smoothing * loss(l, w, smoothing)

    torch.testing.assert_close(flipped(robust), dpo(w, l))
    if smoothing:
        assert (flipped(cdpo) - dpo(w, l)).abs().min() > 0.01


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, math.nan])
def test_labels_that_say_nothing_are_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        robust(pairs(0), pairs(0), smoothing)
