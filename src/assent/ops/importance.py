"""Weights for answers sampled by a policy that is not quite the trainer's. Legend: N answers, T positions.

A sampler (another engine, another precision, weights one update old) gives tokens log-probabilities that
differ from the trainer's. Where the difference is more than rounding, each token is weighted by
trainer / sampler, truncated from above: little bias for a bounded variance (Ionides 2008, "Truncated
importance sampling", J. Comp. Graph. Stat. 17(2); at token level: IMPALA, arXiv 1802.01561, eq. 1).
"""

from __future__ import annotations

from torch import Tensor

from assent.ops.kl import log_ratio
from assent.ops.masked import masked_sum


def truncated_weight(trainer_logp_NT: Tensor, sampler_logp_NT: Tensor, mask_NT: Tensor, cap: float = 2.0) -> Tensor:
    """weight_NT = min(exp(trainer - sampler), cap), without gradient; exactly 1 outside the mask."""
    if cap < 1:
        raise ValueError(f"cap must be at least 1 (1 is an exact match), got {cap}")
    return log_ratio(trainer_logp_NT, sampler_logp_NT, mask_NT).detach().exp().clamp_max(cap)


def effective_sample_share(weight_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Kish's effective sample size as a share of the tokens: (sum w)^2 / (n sum w^2), a scalar in (0, 1]."""
    total = masked_sum(weight_NT, mask_NT)
    return total.square() / (mask_NT.sum() * masked_sum(weight_NT.square(), mask_NT))
