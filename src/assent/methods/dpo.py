"""Direct preference optimisation and its family: rankings, and no reward model.

A group's answers pass through the policy once, however many pairs they make; each judgment's pairs share its
weight, as in reward modelling. The losses: losses/dpo.py and its siblings, by name in methods/preference.py. Details
and what we left out: docs/algorithms/dpo.md. K answers of a group, N of all groups, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from assent.config.blocks import Optimiser
from assent.config.preferences import PreferenceLoss
from assent.core.console import log
from assent.engine import score
from assent.methods.pairs import RankedItem, pair_table
from assent.methods.preference import FAMILY, ReferredItem, mean_of_pairs, mismatched, moved, objective, rewards, summed
from assent.methods.sft import window
from assent.ops.masked import masked_sum
from assent.train.method import Batch, Objective, Peek

FALLEN, FALLEN_SHARE = 1.0, 0.1
"""Winners and losers have both become clearly less likely: by more than a nat an answer, and a tenth of what
they had at the start."""
LOOKS = 10
"""Without a reference, the first batch's answers are scored again so many times in a run, to see whether both fall."""


class Dpo:
    """Epochs over ranked groups. The reference is asked once, here, and is not kept.

    `reference` may be the policy itself, which then is its own starting point: no second model in memory. A loss
    without a reference does not ask it. A resumed run must build this from the same start, before its checkpoint is
    loaded.
    """

    def __init__(
        self,
        policy: Any,
        reference: Any,
        items: Sequence[RankedItem],
        optimiser: Optimiser,
        *,
        settings: PreferenceLoss,
        batch: int,
        steps: int,
        seed: int,
        token_budget: int,
        peek: Peek | None = None,
    ) -> None:
        self.modules: dict[str, nn.Module] = {"policy": policy}
        self.optimisers = {"policy": optimiser}
        self.policy, self.settings, self.peek = policy, settings, peek
        self.member = FAMILY[settings.loss]
        self.items = refer(reference, items, settings, token_budget)
        self.batch, self.steps, self.seed, self.token_budget = batch, steps, seed, token_budget
        self._strangers = mismatched([item.group for item in items]) if self.member.mismatched else {}
        asked = summed(reference, list(self._strangers.values()), token_budget)
        self._ref_logps = dict(zip(self._strangers, asked, strict=True))
        self._start: dict[str, float] | None = None
        self._warned = False

    def batches(self, step: int) -> Iterator[Batch]:
        """The next `batch` groups of an endless, reshuffled pass."""
        items = self._window(step)
        batch = Batch(items, weight=sum(item.ranked.weight for item in items))
        yield batch
        if not self._warned:
            self._watch(items, batch.result, step)

    def _window(self, step: int) -> list[ReferredItem]:
        chosen = window(len(self.items), self.batch, step, self.seed)
        if not self.member.mismatched:
            return [self.items[i] for i in chosen]
        known = [i for i in chosen if i in self._strangers]
        kl = moved(
            self.policy, [self._strangers[i] for i in known], [self._ref_logps[i] for i in known], self.token_budget
        )
        return [replace(self.items[i], kl=kl) for i in chosen]

    def loss(self, items: Sequence[ReferredItem]) -> Objective:
        """Sum over pairs of weight x loss; weight: judgments."""
        scores = score(self.policy, [item.group for item in items])
        assert scores.logp_NT is not None
        return objective(self.settings, masked_sum(scores.logp_NT, scores.mask_NT, dim=1), items)

    def observe(self, step: int) -> dict[str, float]:
        """Passes over the data so far."""
        return {"epoch": (step + 1) * self.batch / len(self.items)}

    def samples(self) -> list[dict[str, Any]]:
        """What the policy answers now, where a peek was given."""
        return self.peek() if self.peek else []

    def state(self) -> dict[str, Any]:
        """Whether the fall of both log-probs was said, and from where it is measured where there is no reference."""
        return {"warned": self._warned, "start": self._start}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; the reference's log-probs are computed again."""
        self._warned, self._start = state["warned"], state["start"]

    def _watch(self, items: Sequence[ReferredItem], result: dict[str, float], step: int) -> None:
        """Say once that winners become less likely too: the lead grows while the policy drifts elsewhere.

        Both are in nats an answer, whatever the loss makes of them. Without a reference the first batch is the
        measure: what it had at first, and what it has now.
        """
        now = {name: result[f"logps/{name}"] for name in ("chosen", "rejected")}
        if self.member.reference:
            start = mean_of_pairs(torch.cat([item.ref_logp_K for item in items if item.ref_logp_K is not None]), items)
        elif self._start is None:
            self._start = start = now
        elif step % max(1, self.steps // LOOKS) and step != self.steps - 1:
            return
        else:
            first = self._window(0)
            logp_N = torch.cat(summed(self.policy, [item.group for item in first], self.token_budget))
            start, now = self._start, mean_of_pairs(logp_N, first)
        falls = {name: start[name] - now[name] for name in now}
        if all(falls[name] > max(FALLEN, FALLEN_SHARE * -start[name]) for name in falls):
            self._warned = True
            log.print(f"  step {step}: {self._fallen(falls)}", style="yellow")

    def _fallen(self, falls: dict[str, float]) -> str:
        ways = ["a lower rate", "fewer passes"]
        if self.member.reference:
            ways.insert(0, "a larger beta")
        return (
            f"both answers of a pair have become less likely, the preferred one by {falls['chosen']:.1f} nats, the "
            f"other by {falls['rejected']:.1f}: what the policy says instead, no ranking has judged. "
            f"{', '.join(ways[:-1]).capitalize()} or {ways[-1]} hold it closer"
        )


def refer(
    reference: Any, items: Sequence[RankedItem], settings: PreferenceLoss, token_budget: int
) -> list[ReferredItem]:
    """Ask the reference once for every answer: its log-prob, summed over its tokens. Of losses that have one."""
    if not FAMILY[settings.loss].reference:
        return [ReferredItem(item) for item in items]
    asked = summed(reference, [item.group for item in items], token_budget)
    return [ReferredItem(item, ref_logp_K) for item, ref_logp_K in zip(items, asked, strict=True)]


def implicit_leads(policy: Any, items: Sequence[ReferredItem], settings: PreferenceLoss, token_budget: int) -> Tensor:
    """lead_P: r_w - r_l of every pair of `items`, in order, without gradient."""
    logp_N = torch.cat(summed(policy, [item.group for item in items], token_budget))
    reward_N = rewards(settings, logp_N, items)
    pairs = pair_table([item.ranked for item in items], reward_N)
    return reward_N[pairs.w_P] - reward_N[pairs.l_P]
