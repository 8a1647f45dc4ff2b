"""The supervised loss."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from assent.losses.sft import sft_loss
from assent.ops.logprobs import token_logp
from assent.ops.reduce import denominator, weighted_sum, weights
from ragged import normal, poison, ragged_mask, random_mask


def test_by_hand() -> None:
    logp_NT = torch.log(torch.tensor([[0.5, 0.25, 0.9]]))
    loss_NT = sft_loss(logp_NT, ragged_mask([2], 3))
    torch.testing.assert_close(loss_NT, torch.tensor([[math.log(2), math.log(4), 0.0]]))


def test_value_and_gradient_against_torchs_cross_entropy() -> None:
    mask_NT = random_mask(4, 6, seed=1)
    logits_NTV = normal(4, 6, 9, seed=2).requires_grad_()
    ids_NT = torch.randint(9, (4, 6), generator=torch.Generator().manual_seed(3))
    ours = weighted_sum(sft_loss(token_logp(logits_NTV, ids_NT), mask_NT), weights(mask_NT, "token"))
    ours = ours / denominator(mask_NT, "token")
    theirs = cross_entropy(logits_NTV.flatten(0, 1), ids_NT.masked_fill(~mask_NT, -100).flatten())
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    gradients = [torch.autograd.grad(x, logits_NTV)[0] for x in (ours, theirs)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


def test_padding_is_never_read() -> None:
    mask_NT = ragged_mask([1, 3])
    logp_NT = poison(-normal(2, 3, seed=4).abs(), mask_NT).requires_grad_()
    loss_NT = sft_loss(logp_NT, mask_NT)
    assert not loss_NT[~mask_NT].any() and loss_NT.isfinite().all()
    (gradient,) = torch.autograd.grad(loss_NT.sum(), logp_NT)
    assert torch.equal(gradient, -mask_NT.double())
