"""Token log-probabilities and entropy of the tempered distribution."""

import math

import pytest
import torch

from assent.ops.logprobs import entropy, token_logp
from ragged import normal


def slow_log_softmax(logits: list[float], temperature: float) -> list[float]:
    scaled = [x / temperature for x in logits]
    total = math.fsum(math.exp(x) for x in scaled)
    return [x - math.log(total) for x in scaled]


def test_by_hand() -> None:
    logits_NTV = torch.tensor([[[math.log(1.0), math.log(2.0), math.log(5.0)]]])
    assert token_logp(logits_NTV, torch.tensor([[2]])).item() == pytest.approx(math.log(5 / 8))
    # At temperature 1/2 probabilities are squared: 1, 4, 25 of 30.
    assert token_logp(logits_NTV, torch.tensor([[1]]), 0.5).item() == pytest.approx(math.log(4 / 30))
    fair_NTV = torch.zeros(1, 1, 8)
    assert entropy(fair_NTV, 0.7).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_against_slow_loop(temperature: float) -> None:
    logits_NTV = normal(3, 4, 7, seed=1)
    ids_NT = torch.randint(7, (3, 4), generator=torch.Generator().manual_seed(2))
    logp_NT, entropy_NT = token_logp(logits_NTV, ids_NT, temperature), entropy(logits_NTV, temperature)
    for n in range(3):
        for t in range(4):
            slow = slow_log_softmax(logits_NTV[n, t].tolist(), temperature)
            assert logp_NT[n, t].item() == pytest.approx(slow[ids_NT[n, t]], abs=1e-10)
            expected = -math.fsum(math.exp(x) * x for x in slow)
            assert entropy_NT[n, t].item() == pytest.approx(expected, abs=1e-10)


def test_half_precision_is_widened_before_the_softmax() -> None:
    """In bf16 itself, log-probabilities of 1000 equal logits would be off by up to 0.03."""
    logits_NTV = torch.zeros(1, 1, 1000, dtype=torch.bfloat16)
    logp_NT = token_logp(logits_NTV, torch.tensor([[5]]))
    assert logp_NT.dtype == torch.float32
    assert logp_NT.item() == pytest.approx(-math.log(1000), abs=1e-5)
    assert entropy(logits_NTV).item() == pytest.approx(math.log(1000), abs=1e-5)


def test_large_logits_keep_their_precision() -> None:
    """`logit - logsumexp` would lose four digits here, and exp() without the maximum would overflow."""
    logits_NTV = normal(2, 3, 50, seed=3)
    shifted_NTV = (logits_NTV + 4096).float()
    ids_NT = torch.zeros(2, 3, dtype=torch.long)
    expected_NT = token_logp(shifted_NTV.double(), ids_NT)
    torch.testing.assert_close(token_logp(shifted_NTV, ids_NT).double(), expected_NT, rtol=0, atol=2e-6)


def test_an_id_that_cannot_be_sampled() -> None:
    logits_NTV = torch.tensor([[[0.0, 0.0, -math.inf]]], dtype=torch.float64, requires_grad=True)
    entropy_NT = entropy(logits_NTV)
    assert entropy_NT.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(entropy_NT.sum(), logits_NTV)
    assert gradient.isfinite().all()


def test_probabilities_sum_to_one_and_chunks_agree() -> None:
    logits_NTV = normal(2, 6, 5, seed=4)
    every_id = torch.arange(5).expand(2, 6, 5)
    logp = torch.stack([token_logp(logits_NTV, every_id[..., i], 0.9) for i in range(5)], dim=-1)
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(2, 6).double(), rtol=0, atol=1e-12)
    flat = entropy(logits_NTV.flatten(0, 1), 0.9)
    assert torch.equal(flat.view(2, 6), entropy(logits_NTV, 0.9))


def test_gradients() -> None:
    logits_NTV = normal(2, 2, 4, seed=5).requires_grad_()
    ids_NT = torch.tensor([[0, 3], [1, 1]])
    assert torch.autograd.gradcheck(lambda x: token_logp(x, ids_NT, 0.7), logits_NTV)
    assert torch.autograd.gradcheck(lambda x: entropy(x, 0.7), logits_NTV)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_refuses_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        entropy(torch.zeros(1, 1, 2), temperature)
