"""Conservative DPO: labels that may be wrong. Legend: P pairs, of a winner w and a loser l."""

from __future__ import annotations

from torch import Tensor

from assent.losses.dpo import dpo


def cdpo(reward_w_P: Tensor, reward_l_P: Tensor, label_smoothing: float) -> Tensor:
    """loss_P = (1 - e) dpo(w, l) + e dpo(l, w), in nats: DPO whose every label says 1 - e, not 1.

    e = label_smoothing in [0, 1/2). The lead it asks for is finite: log((1 - e) / e), where DPO asks for ever
    more. Mitchell 2023, "A note on DPO with noisy preferences" (ericmitchell.ai/cdpo.pdf).
    """
    check_smoothing(label_smoothing)
    return (1 - label_smoothing) * dpo(reward_w_P, reward_l_P) + label_smoothing * dpo(reward_l_P, reward_w_P)


def check_smoothing(label_smoothing: float) -> None:
    """Raise ValueError for a share of wrong labels at which nothing, or the opposite, would be learned."""
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be in [0, 0.5), got {label_smoothing}")
