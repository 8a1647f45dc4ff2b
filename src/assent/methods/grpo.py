"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300): PPO without a value model.

An iteration: sample several answers to each prompt; score them; an answer's advantage is what it scored
beyond its siblings, the same for all its tokens; then clipped updates of the policy. The formulas:
advantages/group.py, losses/ppo.py; the iteration: groups.py. What we do and what we left out: docs/algorithms/grpo.md.
"""

from __future__ import annotations

from torch import Tensor

from assent.advantages.group import group_advantages
from assent.config.online import GrpoConfig
from assent.methods.groups import Groups
from assent.ops import kl as kls


class Grpo(Groups[GrpoConfig]):
    """Leads over siblings, in deviations; KL in the loss or in the score."""

    @property
    def charge(self) -> float:
        """`kl_coef` where KL is taken from the score."""
        return self.config.kl.coef if self.config.kl.place == "reward" else 0.0

    def credit(self, score_GK: Tensor, counts_GK: Tensor) -> Tensor:
        """(score - mean of the group) / deviation."""
        return group_advantages(score_GK, counts_GK, self.config.scale)

    def leash(self, logp_NT: Tensor, ref_logp_NT: Tensor | None, mask_NT: Tensor) -> Tensor | float:
        """KL in the loss, per token."""
        kl = self.config.kl
        if not kl.coef or kl.place != "loss":
            return 0.0
        assert ref_logp_NT is not None
        estimate = kls.k2 if kl.estimator == "k2" else kls.k3
        return kl.coef * estimate(logp_NT, ref_logp_NT, mask_NT)
