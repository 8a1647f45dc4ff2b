"""Truncated importance weights."""

import math

import pytest
import torch

from assent.ops.importance import effective_sample_share, truncated_weight
from ragged import normal, poison, ragged_mask, random_mask


def test_by_hand() -> None:
    trainer_NT = torch.log(torch.tensor([[0.5, 0.2, 0.9]]))
    sampler_NT = torch.log(torch.tensor([[0.25, 0.4, 0.1]]))
    weight_NT = truncated_weight(trainer_NT, sampler_NT, ragged_mask([3]), cap=3.0)
    torch.testing.assert_close(weight_NT, torch.tensor([[2.0, 0.5, 3.0]]))  # 9 is cut to 3


def test_a_matching_sampler_weighs_everything_one() -> None:
    logp_NT, mask_NT = normal(3, 4, seed=1).requires_grad_(), random_mask(3, 4, seed=2)
    weight_NT = truncated_weight(poison(logp_NT, mask_NT), logp_NT.detach(), mask_NT)
    assert torch.equal(weight_NT, torch.ones(3, 4).double())
    assert not weight_NT.requires_grad
    assert effective_sample_share(weight_NT, mask_NT).item() == pytest.approx(1)


def test_without_truncation_the_mean_weight_is_one() -> None:
    """The sampler's mean of p/q is exactly 1, by enumeration; truncation only takes away."""
    trainer, sampler = (torch.log_softmax(normal(6, 1, seed=s), 0) for s in (3, 4))
    every = torch.ones(6, 1, dtype=torch.bool)
    full = (sampler.exp() * truncated_weight(trainer, sampler, every, cap=1e9)).sum()
    cut = (sampler.exp() * truncated_weight(trainer, sampler, every, cap=1.0)).sum()
    assert full.item() == pytest.approx(1, abs=1e-12)
    assert cut.item() < 1


def test_effective_sample_share_by_hand() -> None:
    weight_NT = torch.tensor([[1.0, 1.0, 0.0, 0.0, math.nan]])
    assert effective_sample_share(weight_NT, ragged_mask([4], 5)).item() == pytest.approx(0.5)


def test_refuses_a_cap_below_one() -> None:
    with pytest.raises(ValueError, match="cap must be at least 1"):
        truncated_weight(torch.zeros(1, 1), torch.zeros(1, 1), ragged_mask([1]), cap=0.5)
