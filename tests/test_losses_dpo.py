"""The DPO loss against hand-worked numbers, its symmetries, and where its gradient points."""

import math

import pytest
import torch

from assent.losses.dpo import dpo
from assent.losses.implicit_reward import implicit_reward


def pairs(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of_logps(w: torch.Tensor, l: torch.Tensor, ref_w: torch.Tensor, ref_l: torch.Tensor, beta: float) -> torch.Tensor:
    return dpo(implicit_reward(w, ref_w, None, beta), implicit_reward(l, ref_l, None, beta))


def test_a_policy_that_is_its_reference_pays_log_2() -> None:
    found = of_logps(pairs(-3, -700), pairs(-9, -2), pairs(-3, -700), pairs(-9, -2), beta=0.1)
    torch.testing.assert_close(found, pairs(math.log(2), math.log(2)))


def test_by_hand() -> None:
    """beta 0.5. First pair: w gained 2 nats (reward 1), l lost 1 (-0.5). Second: w lost 4 (-2), l lost 2 (-1)."""
    found = of_logps(pairs(-1, -9), pairs(-2, -5), pairs(-3, -5), pairs(-1, -3), beta=0.5)
    torch.testing.assert_close(found, pairs(math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(1.0))))


def test_either_answer_wins_with_probability_1() -> None:
    """exp(-loss) is the probability of the ranking: with winner and loser swapped, the rest."""
    seed = 4
    print(f"seed {seed}")
    w, l = torch.randn(2, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    both = torch.exp(-dpo(w, l)) + torch.exp(-dpo(l, w))
    torch.testing.assert_close(both, torch.ones_like(both))


def test_only_the_gain_on_the_reference_counts() -> None:
    """An answer 40 nats less likely to begin with, for policy and reference alike, changes nothing."""
    found = of_logps(pairs(-1), pairs(-2), pairs(-3), pairs(-1), 0.5)
    torch.testing.assert_close(of_logps(pairs(-41), pairs(-2), pairs(-43), pairs(-1), 0.5), found)


def test_the_gradient_raises_the_winner_lowers_the_loser_and_leaves_the_reference() -> None:
    """beta * sigmoid(r_l - r_w), eq. 7's gradient: half of beta at the start, nearly nothing once it leads by far."""
    inputs = [t.requires_grad_() for t in (pairs(0, 30), pairs(0, -30), pairs(0, 0), pairs(0, 0))]
    of_logps(*inputs, beta=0.4).sum().backward()
    w, l, ref_w, ref_l = inputs
    expected = pairs(0.4 / 2, 0.4 / (1 + math.exp(24)))
    torch.testing.assert_close(w.grad, -expected)
    torch.testing.assert_close(l.grad, expected)
    assert ref_w.grad is None and ref_l.grad is None


def test_a_gap_of_ten_thousand_does_not_overflow() -> None:
    w, l = torch.tensor([-1e4, 0.0]).requires_grad_(), torch.tensor([0.0, -1e4])
    loss_P = dpo(w, l)
    loss_P.sum().backward()
    torch.testing.assert_close(loss_P.detach(), torch.tensor([1e4, 0.0]))
    torch.testing.assert_close(w.grad, torch.tensor([-1.0, 0.0]))


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a pair"):
        dpo(pairs(0, 1), pairs(0))
    with pytest.raises(ValueError, match="one number a pair"):
        dpo(torch.zeros(2, 3), torch.zeros(2, 3))
