"""The schedule worked by hand, and what the optimiser is told."""

import pytest
import torch
from torch import nn

import tiny
from assent.config.blocks import Optimiser
from assent.train.optimiser import FLOOR, adamw, rate


def rates(steps: int, **settings) -> list[float]:
    return [rate(Optimiser(lr=1.0, **settings), step, steps) for step in range(steps)]


def test_constant_after_a_linear_warm_up() -> None:
    """40 % of 5 steps is 2: half, full, then full."""
    assert rates(5, schedule="constant", warmup=0.4) == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert rates(3, schedule="constant", warmup=0.0) == [1.0, 1.0, 1.0]


def test_warm_up_is_rounded_up() -> None:
    assert rates(10, schedule="constant", warmup=0.11)[:3] == [0.5, 1.0, 1.0]


def test_linear() -> None:
    """1, 3/4, 1/2, 1/4 of the way from the floor to the peak."""
    expected = [FLOOR + (1 - FLOOR) * x for x in (1, 0.75, 0.5, 0.25)]
    assert rates(4, schedule="linear", warmup=0.0) == pytest.approx(expected)
    assert rates(5, schedule="linear", warmup=0.2) == pytest.approx([1.0, *expected])


def test_cosine() -> None:
    """(1 + cos(pi x)) / 2 at x = 0, 1/4, 1/2, 3/4: 1, 0.8536, 0.5, 0.1464."""
    expected = [FLOOR + (1 - FLOOR) * x for x in (1, 0.8535534, 0.5, 0.1464466)]
    assert rates(4, schedule="cosine", warmup=0.0) == pytest.approx(expected, abs=1e-7)


def test_a_rate_is_never_0_nor_above_the_peak() -> None:
    for schedule in ("constant", "linear", "cosine"):
        for warmup in (0.0, 0.3, 1.0):
            for steps in (1, 2, 7):
                assert all(0 < r <= 1 for r in rates(steps, schedule=schedule, warmup=warmup))


def test_weight_decay_falls_on_matrices_only() -> None:
    """With gradients of 0, a step shrinks matrices by lr x decay and leaves norms and biases alone."""
    model = tiny.policy("qwen2")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = adamw(model, Optimiser(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    kinds = set()
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if parameter.dim() >= 2 else before[name]
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-12)
        kinds.add(parameter.dim() >= 2)
    assert kinds == {True, False}


def test_betas_eps_and_frozen_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.requires_grad_(False)
    optimiser = adamw(model, Optimiser(lr=0.1, beta2=0.95, eps=1e-5))
    trained = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert len(trained) == 3 and id(model[0].weight) not in trained
    assert all(g["betas"] == (0.9, 0.95) and g["eps"] == 1e-5 for g in optimiser.param_groups)


def test_one_adam_step_by_hand() -> None:
    """First step: m / (1 - b1) = g, sqrt(v / (1 - b2)) = |g|, so x moves by lr x g / (|g| + eps)."""
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(layer.weight, 2.0)
    optimiser = adamw(layer, Optimiser(lr=0.1, eps=1e-1))
    layer.weight.grad = torch.tensor([[0.3]], dtype=torch.float64)
    optimiser.step()
    assert layer.weight.item() == pytest.approx(2.0 - 0.1 * 0.3 / (0.3 + 0.1))
