"""IPO: by hand, and the lead at which it rests."""

import pytest
import torch

from assent.losses.implicit_reward import implicit_reward
from assent.losses.ipo import ipo
from test_losses_dpo import pairs


def test_by_hand() -> None:
    """beta 0.1: w gained 8 nats in 4 tokens, l lost 3 in 1: h = 2 + 3 = 5 nats a token, which is 1 / (2 beta)."""
    reward_w, reward_l = (implicit_reward(pairs(g), pairs(0), pairs(n), 0.1) for g, n in ((8, 4), (-3, 1)))
    torch.testing.assert_close(ipo(reward_w, reward_l, 0.1), pairs(0))
    shorter = implicit_reward(pairs(-3), pairs(0), pairs(3), 0.1)  # h = 2 + 1
    torch.testing.assert_close(ipo(reward_w, shorter, 0.1), pairs((3 - 5) ** 2))


@pytest.mark.parametrize("beta", [0.05, 0.4])
@pytest.mark.parametrize("prob", [1.0, 0.8, 0.5])
def test_it_rests_where_the_lead_is_the_preference_beyond_a_half(beta: float, prob: float) -> None:
    """r_w - r_l = prob - 1/2: at most a half, where DPO's has no bound. Here from 3 to either side of it."""
    w = pairs(prob - 0.5 - 3, prob - 0.5, prob - 0.5 + 3).requires_grad_()
    l = torch.zeros_like(w)
    (prob * ipo(w, l, beta) + (1 - prob) * ipo(l, w, beta)).sum().backward()
    assert w.grad is not None
    below, at, above = w.grad.tolist()
    assert abs(at) < 1e-10
    assert below == pytest.approx(-2 * 3 / beta**2) and above == pytest.approx(2 * 3 / beta**2)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a pair"):
        ipo(pairs(0, 1), pairs(0), 0.1)
