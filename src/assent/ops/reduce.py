"""The one reducer: how per-token losses become one number. Legend: N answers, T answer positions.

    loss = weighted_sum(values_NT, weights(mask_NT, how)) / denominator(mask_NT of the WHOLE batch, how)

The weights of a row depend on that row alone, and the denominator is a sum over rows, taken once before
the batch is cut. So the loss and its gradient are the same however the batch is cut into micro-batches or
spread over ranks: add up the pieces' sums, and divide by the sum of the pieces' denominators.

What is being averaged is a choice that changes what is learned:
    token      sum over all tokens / number of tokens. Long answers weigh more (DAPO, arXiv 2503.14476).
    sequence   mean over rows of each row's token mean. A token of a long answer weighs less (GRPO).
    constant   sum over all tokens / (rows * constant_length). No length bias, and the gradient of the
               expected return up to a constant (Dr. GRPO, arXiv 2503.20783).
A row without real tokens (dropped, or filled in to make a shape) counts nowhere.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from assent.ops.masked import check_shapes

Aggregation = Literal["token", "sequence", "constant"]


def weights(mask_NT: Tensor, aggregation: Aggregation, dtype: torch.dtype = torch.float32) -> Tensor:
    """w_NT: what each token's value is multiplied by; 0 outside the mask."""
    check_shapes(mask_NT)
    weight_NT = mask_NT.to(dtype)
    if aggregation == "sequence":
        return weight_NT / mask_NT.sum(dim=1, keepdim=True).clamp_min(1)
    if aggregation in ("token", "constant"):
        return weight_NT
    raise ValueError(f"aggregation must be token, sequence or constant, got {aggregation!r}")


def denominator(mask_NT: Tensor, aggregation: Aggregation, constant_length: int | None = None) -> Tensor:
    """Scalar to divide the weighted sum by: tokens, rows, or rows * constant_length. Additive over rows.

    `constant_length`, in tokens, belongs to `constant` only: usually the most tokens an answer may have.
    """
    check_shapes(mask_NT)
    if (aggregation == "constant") != (constant_length is not None):
        raise ValueError("constant_length goes with aggregation 'constant', and with no other")
    if constant_length is not None and constant_length < 1:
        raise ValueError(f"constant_length must be at least 1 token, got {constant_length}")
    if aggregation == "token":
        return mask_NT.sum()
    rows = mask_NT.any(dim=1).sum()
    return rows * (constant_length or 1)


def weighted_sum(values_NT: Tensor, weight_NT: Tensor) -> Tensor:
    """Scalar sum of weight * value; a value of weight 0 is not read, so a NaN in the padding stays there."""
    return (weight_NT * values_NT.masked_fill(weight_NT == 0, 0.0)).sum()
