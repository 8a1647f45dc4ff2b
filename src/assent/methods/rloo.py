"""REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): the mean of an answer's siblings is its baseline.

An answer is one action: KL is taken from its score, summed over its tokens, and all its tokens share one advantage.
The formulas: advantages/group.py, losses/ppo.py; the iteration: groups.py. What we do and what we left out:
docs/algorithms/rloo.md.
"""

from __future__ import annotations

from torch import Tensor

from assent.advantages.group import flat_groups, leave_one_out
from assent.config.online import RlooConfig
from assent.methods.groups import Groups
from assent.ops.masked import whiten


class Rloo(Groups[RlooConfig]):
    """Leads over the other answers; KL in the score."""

    @property
    def charge(self) -> float:
        """`kl_coef`: KL is always taken from the score."""
        return self.config.kl.coef

    def credit(self, score_GK: Tensor, counts_GK: Tensor) -> Tensor:
        """score - mean of the others, whitened over the iteration where asked."""
        lead_GK = leave_one_out(score_GK, counts_GK)
        if not self.config.whiten or not bool(counts_GK.any()):
            return lead_GK
        # Leads sum to 0 in each group, but for rounding, of which flat groups must get nothing.
        return whiten(lead_GK, counts_GK).masked_fill(flat_groups(score_GK, counts_GK)[:, None], 0.0)
