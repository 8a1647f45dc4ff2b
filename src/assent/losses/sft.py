"""Supervised fine-tuning. Legend: N answers, T answer positions (the end-of-sequence token included)."""

from __future__ import annotations

from torch import Tensor

from assent.ops.masked import check_shapes, zero_outside


def sft_loss(logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """loss_NT: negative log-likelihood of each answer token, in nats; 0 outside the mask.

    Aggregate it by `token`: the sum divided by the number of trained tokens of the whole batch. A mean of
    micro-batch means would weigh the tokens of short batches more.
    """
    check_shapes(mask_NT, logp_NT=logp_NT)
    return -zero_outside(logp_NT, mask_NT)
