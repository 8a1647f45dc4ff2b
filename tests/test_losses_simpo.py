"""SimPO: by hand, and what length and gamma do."""

import math

import pytest
import torch

from assent.losses.dpo import dpo
from assent.losses.implicit_reward import implicit_reward
from assent.losses.simpo import simpo
from test_losses_dpo import pairs


def test_by_hand() -> None:
    """beta 2: w has -6 nats in 3 tokens (reward -4), l -5 in 1 (-10): a lead of 6, of which gamma takes 1.5."""
    reward_w, reward_l = (implicit_reward(pairs(x), None, pairs(n), 2.0) for x, n in ((-6, 3), (-5, 1)))
    torch.testing.assert_close(simpo(reward_w, reward_l, 1.5), pairs(math.log(1 + math.exp(-4.5))))


def test_gamma_is_a_handicap() -> None:
    w, l = pairs(0.3, -2.0), pairs(1.0, -4.0)
    torch.testing.assert_close(simpo(w + 1.2, l, 1.2), dpo(w, l))
    assert (simpo(w, l, 1.2) > simpo(w, l, 0.0)).all()


def test_an_answer_said_twice_has_the_reward_of_one() -> None:
    """Twice the tokens, twice the nats: length alone wins or loses nothing."""
    once, twice = (implicit_reward(pairs(-6 * n), None, pairs(3 * n), 2.0) for n in (1, 2))
    assert once.equal(twice)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a pair"):
        simpo(pairs(0, 1), pairs(0), 1.0)
