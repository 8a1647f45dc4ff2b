"""The hinge: by hand, and that it asks for a lead of 1 and no more."""

import pytest
import torch

from assent.losses.hinge import hinge
from test_losses_dpo import pairs


def test_by_hand() -> None:
    w = pairs(0.0, 0.75, 1.5, -2.0).requires_grad_()
    loss_P = hinge(w, pairs(0.0, 0.25, 0.25, 1.0))
    assert loss_P.tolist() == [1.0, 0.5, 0.0, 4.0]
    loss_P.sum().backward()
    assert w.grad is not None and w.grad.tolist() == [-1.0, -1.0, 0.0, -1.0]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a pair"):
        hinge(pairs(0, 1), pairs(0))
    assert hinge(torch.zeros(0), torch.zeros(0)).shape == (0,)
