"""The KL term of the reward, and who sets its strength. Legend: N answers, T answer positions.

Each token pays `kl_coef * (logp - ref_logp)`, k1 of `ops.kl`, and the answer's score arrives with its
last token. Maximising this sum is maximising score - kl_coef * KL(policy || reference), whose optimum is
reference * exp(score / kl_coef), normalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from assent.ops.kl import k1


@torch.no_grad()
def token_rewards(score_N: Tensor, logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor, kl_coef: float) -> Tensor:
    """reward_NT = -kl_coef * (logp - ref_logp), plus the score on the last real token; 0 outside the mask.

    The last token is the end-of-sequence token if the answer stopped, else the last one written: there is
    no slot after it. logp_NT is the policy's that sampled the answer (the old policy), in nats. Scale and
    clip scores before this; a row without real tokens gets no reward (drop unscorable answers that way).
    """
    if score_N.shape != mask_NT.shape[:1]:
        raise ValueError(f"score_N has shape {tuple(score_N.shape)} for {mask_NT.shape[0]} answers")
    penalty_NT = kl_coef * k1(logp_NT, ref_logp_NT, mask_NT)
    order_NT = mask_NT.cumsum(dim=1)
    last_NT = mask_NT & (order_NT == order_NT[:, -1:])
    return torch.where(last_NT, score_N.unsqueeze(1), 0.0).to(penalty_NT.dtype) - penalty_NT


@torch.no_grad()
def answer_rewards(score_N: Tensor, logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor, kl_coef: float) -> Tensor:
    """reward_N = score - kl_coef * k1 summed over the answer: `token_rewards` where an answer is one action.

    Its optimum is the same. For methods that give all tokens of an answer one advantage (Ahmadian et al. 2024, arXiv
    2402.14740, section 2). A row without real tokens keeps its score.
    """
    if score_N.shape != mask_NT.shape[:1]:
        raise ValueError(f"score_N has shape {tuple(score_N.shape)} for {mask_NT.shape[0]} answers")
    return score_N - kl_coef * k1(logp_NT, ref_logp_NT, mask_NT).sum(dim=1)


class KLController(Protocol):
    """Sets kl_coef. `update` is called once a rollout batch; the state goes into every checkpoint."""

    coef: float

    def update(self, kl: float, n_answers: int) -> None: ...
    def state_dict(self) -> dict[str, float]: ...
    def load_state_dict(self, state: Mapping[str, float]) -> None: ...


class FixedKL:
    """A constant kl_coef: the default, and the one whose optimum is known."""

    def __init__(self, coef: float) -> None:
        if not (math.isfinite(coef) and coef >= 0):
            raise ValueError(f"kl_coef must be a number of at least 0, got {coef}")
        self.coef = coef

    def update(self, kl: float, n_answers: int) -> None:
        """Nothing to adapt."""

    def state_dict(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.coef = float(state["coef"])


class AdaptiveKL(FixedKL):
    """Steers the KL towards a target (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

        err = clip(KL / target - 1, -0.2, 0.2);  coef *= 1 + err * n_answers / horizon

    KL and target are in nats *per answer*: summed over the tokens, averaged over the batch (the paper: 6).
    Libraries that feed a per-token mean need a target smaller by the length of an answer. `horizon` is in
    answers: at most a fifth of n_answers / horizon is added or taken off per update (the code: 10,000).
    """

    def __init__(self, coef: float, target: float, horizon: float) -> None:
        super().__init__(coef)
        if not (coef > 0 and target > 0 and horizon > 0):
            raise ValueError(f"coef, target and horizon must be above 0, got {coef}, {target}, {horizon}")
        self.target, self.horizon = target, horizon

    def update(self, kl: float, n_answers: int) -> None:
        """`kl`: this batch's mean over answers of k1 summed over tokens; may be negative, being a sample."""
        if not math.isfinite(kl):
            raise ValueError(f"the KL of a batch must be a finite number, got {kl}")
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * n_answers / self.horizon
