"""One number from many tokens, whichever way the batch is cut."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from assent.losses.ppo import policy_loss
from assent.losses.sft import sft_loss
from assent.losses.value import value_loss
from assent.ops.logprobs import token_logp
from assent.ops.reduce import Aggregation, denominator, weighted_sum, weights
from ragged import normal, ragged_mask, random_mask, widen

N, T, V, H = 8, 7, 5, 3
LENGTH = {"token": None, "sequence": None, "constant": 10}
AGGREGATIONS = get_args(Aggregation)


def reduced(values_NT: Tensor, mask_NT: Tensor, how: Aggregation) -> float:
    total = weighted_sum(values_NT, weights(mask_NT, how, torch.float64))
    return float(total / denominator(mask_NT, how, LENGTH[how]))


def test_by_hand() -> None:
    values_NT = torch.tensor([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0]]).double()
    mask_NT = ragged_mask([3, 1])
    assert reduced(values_NT, mask_NT, "token") == pytest.approx(16 / 4)
    assert reduced(values_NT, mask_NT, "sequence") == pytest.approx((2 + 10) / 2)
    assert reduced(values_NT, mask_NT, "constant") == pytest.approx(16 / (2 * 10))


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_empty_rows_count_nowhere(how: Aggregation) -> None:
    values_NT, mask_NT = normal(4, 5, seed=1), ragged_mask([2, 5, 1, 4])
    with_gaps = torch.cat([torch.zeros(2, 5).double(), values_NT])
    gap_mask = torch.cat([torch.zeros(2, 5).bool(), mask_NT])
    assert reduced(with_gaps, gap_mask, how) == pytest.approx(reduced(values_NT, mask_NT, how), abs=1e-14)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_against_slow_loop(how: Aggregation) -> None:
    values_NT, mask_NT = normal(N, T, seed=2), random_mask(N, T, seed=3)
    rows = [
        [x for x, m in zip(v, k, strict=True) if m] for v, k in zip(values_NT.tolist(), mask_NT.tolist(), strict=True)
    ]
    expected = {
        "token": sum(map(sum, rows)) / sum(map(len, rows)),
        "sequence": sum(sum(row) / len(row) for row in rows) / N,
        "constant": sum(map(sum, rows)) / (N * 10),
    }[how]
    assert reduced(values_NT, mask_NT, how) == pytest.approx(expected, abs=1e-12)


def per_token_losses(theta_HV: Tensor, rows: slice | Tensor, mask_NT: Tensor, width: int) -> Tensor:
    """SFT + PPO + value losses of a small model, on some rows of one fixed batch."""
    features = normal(N, T, H, seed=4)
    logits_NTV = features @ theta_HV
    ids_NT = torch.randint(V, (N, T), generator=torch.Generator().manual_seed(5))
    logp_NT = token_logp(logits_NTV, ids_NT, 0.8)
    columns = (
        logp_NT,
        logp_NT.detach() + 0.4 * normal(N, T, seed=6),
        normal(N, T, seed=7),
        logits_NTV[..., 0],
    )
    logp, old, advantage, value = (widen(x[rows], width - T, float("nan")) for x in columns)
    mask = widen(mask_NT[rows], width - T).bool()
    return (
        sft_loss(logp, mask)
        + policy_loss(logp, old, advantage, mask).loss_NT
        + value_loss(value, value.detach() + 0.3, advantage, mask).loss_NT
    )


def gradient_of_cut(how: Aggregation, pieces: list[Tensor], width: int = T) -> Tensor:
    theta_HV = normal(H, V, seed=8).requires_grad_()
    mask_NT = random_mask(N, T, seed=9)
    total = denominator(mask_NT, how, LENGTH[how])  # once, before cutting
    for rows in pieces:
        piece_NT = per_token_losses(theta_HV, rows, mask_NT, width)
        w_NT = weights(widen(mask_NT[rows], width - T).bool(), how, torch.float64)
        (weighted_sum(piece_NT, w_NT) / total).backward()
    assert theta_HV.grad is not None and theta_HV.grad.abs().max() > 1e-3
    return theta_HV.grad


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize("size", [4, 1, 3])
def test_gradient_is_the_same_however_the_batch_is_cut(how: Aggregation, size: int) -> None:
    whole = gradient_of_cut(how, [torch.arange(N)])
    order = torch.randperm(N, generator=torch.Generator().manual_seed(10))
    for rows, width in ((torch.arange(N), T), (order, T), (order, T + 6)):
        cut = gradient_of_cut(how, list(rows.split(size)), width)
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)


def test_the_fault_this_prevents_is_visible() -> None:
    """Dividing each micro-batch by its own token count, as many trainers did, is another gradient."""
    mask_NT = random_mask(N, T, seed=9)
    theta_HV = normal(H, V, seed=8).requires_grad_()
    for rows in torch.arange(N).split(4):
        w_NT = weights(mask_NT[rows], "token", torch.float64)
        loss = weighted_sum(per_token_losses(theta_HV, rows, mask_NT, T), w_NT)
        (loss / denominator(mask_NT[rows], "token") / 2).backward()
    assert (theta_HV.grad - gradient_of_cut("token", [torch.arange(N)])).abs().max() > 1e-3


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_denominators_add_up_over_pieces(how: Aggregation) -> None:
    mask_NT = random_mask(N, T, seed=11)
    pieces = [denominator(mask_NT[rows], how, LENGTH[how]) for rows in torch.arange(N).split(3)]
    assert sum(pieces) == denominator(mask_NT, how, LENGTH[how])


def test_weighted_sum_leaves_nan_in_the_padding() -> None:
    values_NT = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    total = weighted_sum(values_NT, weights(ragged_mask([1], 2), "token"))
    assert total.item() == 1
    assert torch.autograd.grad(total, values_NT)[0].tolist() == [[1, 0]]


def test_refuses() -> None:
    mask_NT = ragged_mask([2, 1])
    with pytest.raises(ValueError, match="must be token, sequence or constant"):
        weights(mask_NT, "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="goes with aggregation 'constant'"):
        denominator(mask_NT, "constant")
    with pytest.raises(ValueError, match="goes with aggregation 'constant'"):
        denominator(mask_NT, "token", 5)
    with pytest.raises(ValueError, match="at least 1 token"):
        denominator(mask_NT, "constant", 0)
