"""The reward that a policy gives its own answers. Legend: N answers."""

from __future__ import annotations

from torch import Tensor


def implicit_reward(logp_N: Tensor, ref_logp_N: Tensor | None, length_N: Tensor | None, beta: float) -> Tensor:
    """reward_N = beta * (logp - ref_logp) / length: what an answer has gained on the reference, times beta.

    Log-probs are sums over an answer's tokens, in nats, EOS included; only the policy's get a gradient.
    ref_logp_N None: no reference, the log-prob itself (SimPO). length_N: tokens of each answer, for losses that
    average over them (IPO, SimPO); None: the sum (Rafailov et al. 2023, arXiv 2305.18290, eq. 5).
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    shapes = {tuple(x_N.shape) for x_N in (logp_N, ref_logp_N, length_N) if x_N is not None}
    if len(shapes) > 1 or logp_N.dim() != 1:
        raise ValueError(f"log-probs and lengths must be one number an answer, [N]; got {sorted(shapes)}")
    gain_N = logp_N if ref_logp_N is None else logp_N - ref_logp_N.detach()
    return beta * (gain_N if length_N is None else gain_N / length_N)
