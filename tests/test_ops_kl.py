"""k1, k2, k3: every line of the table in the module's docstring, by enumeration of all tokens."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from assent.ops.kl import LOG_RATIO_LIMIT, k1, k2, k3, log_ratio
from ragged import normal, poison, random_mask

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]
V = 6
EVERY = torch.ones(V, 1, dtype=torch.bool)  # one row per token of the vocabulary
REF_LOGP = torch.log_softmax(normal(V, seed=1), 0)


def exact_kl(p_logp: Tensor, q_logp: Tensor) -> Tensor:
    return (p_logp.exp() * (p_logp - q_logp)).sum()


def expected(estimator: Estimator, theta: Tensor) -> Tensor:
    """The mean of the estimator over tokens drawn from the policy; the draw itself has no gradient."""
    logp = torch.log_softmax(theta, 0)
    kl_NT = estimator(logp[:, None], REF_LOGP[:, None], EVERY)
    return (logp.detach().exp() * kl_NT[:, 0]).sum()


def gradient(loss: Tensor, theta: Tensor) -> Tensor:
    return torch.autograd.grad(loss, theta, retain_graph=True)[0]


@pytest.fixture
def theta() -> Tensor:
    return normal(V, seed=2).requires_grad_()


def test_by_hand() -> None:
    ones = torch.ones(1, 1, dtype=torch.bool)
    logp, ref = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])  # d = ln 2
    assert k1(logp, ref, ones).item() == pytest.approx(math.log(2))
    assert k2(logp, ref, ones).item() == pytest.approx(math.log(2) ** 2 / 2)
    assert k3(logp, ref, ones).item() == pytest.approx(0.5 - 1 + math.log(2))


def test_values(theta: Tensor) -> None:
    exact = exact_kl(torch.log_softmax(theta, 0), REF_LOGP).item()
    assert exact > 0.1
    assert expected(k1, theta).item() == pytest.approx(exact, abs=1e-12)
    assert expected(k3, theta).item() == pytest.approx(exact, abs=1e-12)
    assert expected(k2, theta).item() != pytest.approx(exact, rel=0.01)


def test_k3_is_quieter_than_k1(theta: Tensor) -> None:
    close = (0.3 * theta + 0.7 * REF_LOGP).detach()
    logp = torch.log_softmax(close, 0)
    spread = {}
    for estimator in (k1, k3):
        values = estimator(logp[:, None], REF_LOGP[:, None], EVERY)[:, 0]
        mean = (logp.exp() * values).sum()
        spread[estimator] = (logp.exp() * (values - mean).square()).sum().item()
    assert spread[k3] < 0.2 * spread[k1]
    assert (k3(logp[:, None], REF_LOGP[:, None], EVERY) >= 0).all()


def test_gradients_in_the_loss(theta: Tensor) -> None:
    logp = torch.log_softmax(theta, 0)
    reverse, forward = exact_kl(logp, REF_LOGP), exact_kl(REF_LOGP, logp)
    true = gradient(reverse, theta)
    other = gradient(forward, theta)
    assert gradient(expected(k1, theta), theta).abs().max() < 1e-12
    torch.testing.assert_close(gradient(expected(k2, theta), theta), true, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient(expected(k3, theta), theta), other, rtol=0, atol=1e-12)
    assert (true - other).abs().max() > 0.01


def test_a_step_on_k2_lowers_the_kl(theta: Tensor) -> None:
    before = exact_kl(torch.log_softmax(theta, 0), REF_LOGP)
    stepped = theta - 0.1 * gradient(expected(k2, theta), theta)
    assert exact_kl(torch.log_softmax(stepped, 0), REF_LOGP) < before - 1e-3


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_padding_is_never_read(estimator: Estimator) -> None:
    mask_NT = random_mask(4, 5, seed=3)
    clean, gradients = [], []
    for padding in (0.0, math.nan, -math.inf):
        logp_NT = poison(normal(4, 5, seed=4), mask_NT, padding).requires_grad_()
        kl_NT = estimator(logp_NT, poison(normal(4, 5, seed=5), mask_NT, padding), mask_NT)
        clean.append(kl_NT)
        gradients.append(gradient(kl_NT.sum(), logp_NT))
    for kl_NT, gradient_NT in zip(clean[1:], gradients[1:], strict=True):
        assert torch.equal(kl_NT, clean[0]) and torch.equal(gradient_NT, gradients[0])
    assert not clean[0][~mask_NT].any()


@pytest.mark.parametrize("estimator", [k2, k3])
def test_gradcheck(estimator: Estimator) -> None:
    mask_NT, ref_NT = random_mask(2, 3, seed=6), normal(2, 3, seed=7)
    logp_NT = normal(2, 3, seed=8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: estimator(x, ref_NT, mask_NT), logp_NT)


def test_far_away() -> None:
    """Nothing overflows in fp32, and k2 still pulls the policy back."""
    ones = torch.ones(1, 2, dtype=torch.bool)
    logp_NT = torch.tensor([[-0.1, -900.0]], requires_grad=True)
    ref_NT = torch.tensor([[-1000.0, -0.1]])
    assert log_ratio(logp_NT, ref_NT, ones).tolist() == [[LOG_RATIO_LIMIT, -LOG_RATIO_LIMIT]]
    for estimator in (k1, k2, k3):
        assert estimator(logp_NT, ref_NT, ones).isfinite().all()
    pull = gradient(k2(logp_NT, ref_NT, ones).sum(), logp_NT)
    assert pull.tolist() == [[LOG_RATIO_LIMIT, -LOG_RATIO_LIMIT]]


def test_step_zero_is_exactly_zero() -> None:
    logp_NT, mask_NT = normal(3, 4, seed=9), random_mask(3, 4, seed=10)
    for estimator in (k1, k2, k3):
        assert not estimator(logp_NT, logp_NT.clone(), mask_NT).any()
