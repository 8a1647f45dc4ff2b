"""Three per-token estimators of KL(policy || reference). Legend: N answers, T answer positions.

With d = logp - ref_logp on a token sampled from the policy (Schulman, "Approximating KL divergence",
2020, joschu.net/blog/kl-approx.html):

         value                     as an estimate          gradient of its mean when put in a loss
    k1   d                         unbiased, noisy         zero: it teaches nothing
    k2   d^2 / 2                   biased, low variance    exact: that of KL(policy || reference)
    k3   exp(-d) - 1 + d  (>= 0)   unbiased, quiet         another KL's: KL(reference || policy)

So: k1 in the *reward* (no gradient passes through it; REINFORCE makes it exact), k2 in the *loss*, k3 to
report, or in the loss to reproduce GRPO papers. The gradient column holds on-policy and at the token's
own position; only KL in the reward also charges a token for the KL of what it leads to. (Tang and Munos
2025, arXiv 2506.09477, for both.) tests/test_ops_kl.py shows each line of the table by enumeration.

Swap the arguments for two policies: `k3(old_logp, logp)` estimates KL(old || new) from old's samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from assent.ops.masked import check_shapes, zero_outside

# Nats: exp(20) is 5e8. Beyond it a ratio says only "broken", and exp() of much more would overflow.
LOG_RATIO_LIMIT = 20.0


def log_ratio(logp_NT: Tensor, other_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """`logp - other_logp`, within +-LOG_RATIO_LIMIT; exactly 0 outside the mask."""
    difference_NT = _difference(logp_NT, other_logp_NT, mask_NT)
    return difference_NT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def k1(logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """kl_NT = d, clamped; 0 outside the mask. For the reward, and for reporting."""
    return log_ratio(logp_NT, ref_logp_NT, mask_NT)


def k2(logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """kl_NT = d^2 / 2; 0 outside the mask. For the loss.

    Beyond the limit it goes on linearly: clamping d itself would leave no gradient exactly where the
    policy is farthest away.
    """
    difference_NT = _difference(logp_NT, ref_logp_NT, mask_NT)
    zeros_NT = torch.zeros_like(difference_NT)
    return huber_loss(difference_NT, zeros_NT, reduction="none", delta=LOG_RATIO_LIMIT)


def k3(logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """kl_NT = exp(-d) - 1 + d, with d clamped; never negative (but for rounding), 0 outside the mask."""
    d_NT = log_ratio(logp_NT, ref_logp_NT, mask_NT)
    return torch.expm1(-d_NT) + d_NT


def _difference(logp_NT: Tensor, other_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    check_shapes(mask_NT, logp_NT=logp_NT, other_logp_NT=other_logp_NT)
    return zero_outside(logp_NT, mask_NT) - zero_outside(other_logp_NT, mask_NT)
