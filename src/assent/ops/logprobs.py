"""Log-probabilities and entropy of the distribution that is sampled from: the tempered one.

Legend: N answers, T answer positions, V vocabulary. The functions work on any leading dimensions, so a
caller can feed chunks of positions and never hold a whole [N, T, V].

Logits are divided by the temperature in every pass (sampler, old policy, new policy, reference):
a pass that forgets it compares two different distributions, and the KL it reports is noise.
"""

from __future__ import annotations

import torch
from torch import Tensor


def tempered_log_softmax(logits_NTV: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature), at least in fp32 (half precision is widened first), in nats."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    wide_NTV = logits_NTV.to(torch.promote_types(logits_NTV.dtype, torch.float32))
    return torch.log_softmax(wide_NTV / temperature, dim=-1)


def token_logp(logits_NTV: Tensor, ids_NT: Tensor, temperature: float = 1.0) -> Tensor:
    """logp_NT: log-probability in nats of each token id, `logits_NTV[n, t]` being those that predict it.

    Padding ids must be valid ids (any will do); what they score is outside the mask.
    """
    logp_NTV = tempered_log_softmax(logits_NTV, temperature)
    return logp_NTV.gather(-1, ids_NT.unsqueeze(-1)).squeeze(-1)


def entropy(logits_NTV: Tensor, temperature: float = 1.0) -> Tensor:
    """entropy_NT in nats, between 0 and ln V, of the tempered distribution at each position."""
    logp_NTV = tempered_log_softmax(logits_NTV, temperature)
    # A logit of -inf (an id that cannot be sampled) would be 0 * -inf = NaN; floored it contributes 0.
    finite_NTV = logp_NTV.clamp_min(torch.finfo(logp_NTV.dtype).min)
    return -(logp_NTV.exp() * finite_NTV).sum(dim=-1)
