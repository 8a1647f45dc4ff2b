"""What is claimed of `recipes/arithmetic.yaml`: GRPO with the exact result as reward raises the share of held-out
sums answered right from its SFT level.

Held out from demonstrations and from GRPO; the pretraining text has them (docs/lab.md). Shares are over sampled
answers, paired by prompt, intervals by sum.
"""

from __future__ import annotations

import json

from assent.artifacts.store import Store
from assent.core.jsonl import read_records
from assent.core.records import Group
from assent.core.seeds import derive
from assent.experiments.check import Check
from assent.stats.bootstrap import Interval, difference_interval, mean_interval
from assent.train.tracking import read_metrics

BEFORE, AFTER = "sft", "grpo"


def one_seed(store: Store) -> list[Check]:
    """The rise on held-out sums, and beside it the reward's own curve on the sums it was trained on."""
    before, after, rise = accuracies(store)
    curve = [row["rewards/exact/mean"] for row in read_metrics(store.folder(AFTER))]
    return [
        Check(
            "GRPO answers more held-out sums right than SFT: lower bound of the difference above 0",
            rise.low > 0,
            f"{before} -> {after}, difference {rise}",
        ),
        Check(
            "share right on training sums, first and last iteration",
            None,
            f"{curve[0]:.3f} -> {curve[-1]:.3f} ({len(curve)} iterations)",
        ),
    ]


def accuracies(store: Store) -> tuple[Interval, Interval, Interval]:
    """Share of the audit's answers that are right: of SFT, of GRPO, and the second less the first."""
    folder = store.folder("audit") / "data"
    groups = read_records(folder / f"answers-{BEFORE}.jsonl", Group)
    units = [group.prompt.subject for group in groups for _ in group.answers]
    worth: dict[str, list[float | None]] = {
        name: json.loads((folder / f"worth-{name}.json").read_text(encoding="utf-8")) for name in (BEFORE, AFTER)
    }
    seed = derive(0, "arithmetic", "bootstrap")
    found = (
        mean_interval(worth[BEFORE], units, seed=seed),
        mean_interval(worth[AFTER], units, seed=seed),
        difference_interval(worth[AFTER], worth[BEFORE], units, seed=seed),
    )
    assert found[0] and found[1] and found[2], "the recipe holds out far more sums than an interval needs"
    return found[0], found[1], found[2]
