"""What an answer is worth to its own policy: by hand, and what gets a gradient."""

import math

import pytest
import torch

from assent.losses.implicit_reward import implicit_reward


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    """beta 0.5: the first answer gained 2 nats in 4 tokens, the second lost 3 in 2."""
    logp_N, ref_logp_N, length_N = numbers(-3, -5), numbers(-5, -2), numbers(4, 2)
    assert implicit_reward(logp_N, ref_logp_N, None, 0.5).tolist() == [1.0, -1.5]
    assert implicit_reward(logp_N, ref_logp_N, length_N, 0.5).tolist() == [0.25, -0.75]
    assert implicit_reward(logp_N, None, length_N, 0.5).tolist() == [-0.375, -1.25]


def test_a_policy_that_is_its_reference_rewards_nothing() -> None:
    assert not implicit_reward(numbers(-3, -700), numbers(-3, -700), None, 0.1).any()


def test_only_the_policy_gets_a_gradient() -> None:
    logp_N, ref_logp_N = numbers(-3, -5).requires_grad_(), numbers(-5, -2).requires_grad_()
    implicit_reward(logp_N, ref_logp_N, numbers(4, 2), 0.5).sum().backward()
    assert logp_N.grad is not None and logp_N.grad.tolist() == [0.125, 0.25]
    assert ref_logp_N.grad is None


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan])
def test_a_beta_that_holds_nothing_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        implicit_reward(numbers(0), numbers(0), None, beta)


def test_shapes_that_would_broadcast_are_refused() -> None:
    for ref_logp_N, length_N in ((numbers(0), None), (None, numbers(1)), (numbers(0, 1), numbers(1))):
        with pytest.raises(ValueError, match="one number an answer"):
            implicit_reward(numbers(0, 1), ref_logp_N, length_N, 0.1)
    with pytest.raises(ValueError, match="one number an answer"):
        implicit_reward(torch.zeros(2, 3), torch.zeros(2, 3), None, 0.1)
