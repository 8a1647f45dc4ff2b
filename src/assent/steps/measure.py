"""What reward models are worth on held-out pairs: accuracy beside its floor, calibration, and how far members differ.

P pairs, each with the judgment's own order as its label, whatever the models were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from assent.core.console import log
from assent.core.records import Group
from assent.rewards.ensemble import mean, spread
from assent.stats import bootstrap, calibration, separation, surface
from assent.steps.pairs import Pairs

Rewards = dict[str, list[float]]
"""Group id -> a reward per answer, of the groups that a model can read."""
Texts = list[tuple[str, str]]
"""(better, worse) of each pair."""


class Row(NamedTuple):
    """A held-out pair."""

    group: Group
    better: int
    worse: int

    def lead(self, rewards: Rewards) -> float:
        """By how much a model puts the better answer above the other."""
        return rewards[self.group.id][self.better] - rewards[self.group.id][self.worse]


def rows_of(groups: Sequence[Group], pairs: Pairs, models: Sequence[Rewards]) -> list[Row]:
    """The pairs of those groups that every model can read."""
    readable = [group for group in groups if all(group.id in rewards for rewards in models)]
    return [Row(group, pair.better, pair.worse) for group in readable for pair in pairs[group.id]]


def texts_of(groups: Sequence[Group], pairs: Pairs) -> Texts:
    """Both texts of each decided pair."""
    return [
        (group.answers[pair.better].text, group.answers[pair.worse].text)
        for group in groups
        for pair in pairs.get(group.id, ())
        if pair.prob > 0.5
    ]


def combined(models: Sequence[Rewards]) -> Rewards:
    """The mean of the members' rewards, of the groups that all can read."""
    shared = [group for group in models[0] if all(group in rewards for rewards in models)]
    return {g: [mean(values) for values in zip(*(rewards[g] for rewards in models), strict=True)] for g in shared}


def measure(
    rewards: Rewards, groups: Sequence[Group], pairs: Pairs, fit: Texts, unit: float, seed: int
) -> dict[str, Any]:
    """Held-out accuracy, its floor, the paired difference by subject, and calibration.

    Rewards are in log-odds; `unit` is how much of the written model's score makes one. The floor is fitted on `fit`.
    """
    rows = rows_of(groups, pairs, [rewards])
    dropped = len(groups) - len({row.group.id for row in rows})
    if not rows or not fit:
        log.print("  no held-out pairs, so accuracy is not measured", style="yellow")
        return {"accuracy": None, "accuracy_floor": None, "floor_difference_interval": None, "n": 0}
    floor, units = surface.fit(fit), [row.group.prompt.subject for row in rows]
    texts = [(row.group.answers[row.better].text, row.group.answers[row.worse].text) for row in rows]
    leads = [row.lead(rewards) for row in rows]
    correct = [right(lead) for lead in leads]
    accuracy = bootstrap.mean_interval(correct, units, seed=seed)
    difference = bootstrap.difference_interval(correct, floor.correct(texts), units, seed=seed)
    predicted, observed = calibration.favourites(leads)
    temperature, fitted = calibration.best_temperature(leads), calibration.cross_fitted(leads, units)
    return {
        "accuracy": mean(correct),
        "accuracy_interval": [accuracy.low, accuracy.high] if accuracy else None,
        "accuracy_floor": floor.accuracy(texts),
        "floor_difference_interval": [difference.low, difference.high] if difference else None,
        "n": len(leads),
        "held_out_dropped": dropped,
        "n_subjects": len(set(units)),
        "ece": calibration.ece(predicted, observed),
        "ece_calibrated": None if fitted is None else calibration.ece(*calibration.favourites(fitted)),
        "perfect_ece": calibration.perfect_ece(predicted, seed=seed),
        "brier": calibration.brier(predicted, observed),
        "floor_weights": floor.by_name,
        "best_temperature": temperature,
        "pair_temperature": (temperature or 1.0) * unit,
        "calibration": [list(b) for b in calibration.reliability(predicted, observed)],
    }


def right(lead: float) -> float:
    """1 where the better answer leads, one half where neither does."""
    return 1.0 if lead > 0 else 0.5 if lead == 0 else 0.0


def disagreement(models: Sequence[Rewards], groups: Sequence[Group], pairs: Pairs, seed: int) -> dict[str, Any]:
    """Where the members of an ensemble disagree, is their mean wrong? Rewards are those of the written models.

    Of a pair, the deviation of the members' leads; pairs on which the mean is undecided are left out.
    """
    whole, rows = combined(models), rows_of(groups, pairs, models)
    decided = [row for row in rows if row.lead(whole)]
    wrong = [row.lead(whole) < 0 for row in decided]
    apart = [spread([row.lead(rewards) for rewards in models]) for row in decided]
    gap = separation.gap_interval(apart, wrong, [row.group.prompt.subject for row in decided], seed=seed)
    answers = [spread(values) for g in whole for values in zip(*(rewards[g] for rewards in models), strict=True)]
    return {
        "disagreement": mean(answers) if answers else None,
        "disagreement_right": _mean_of(apart, wrong, False),
        "disagreement_wrong": _mean_of(apart, wrong, True),
        "disagreement_gap_interval": [gap.low, gap.high] if gap else None,
        "disagreement_auc": separation.auc(apart, wrong),
    }


def _mean_of(values: Sequence[float], flags: Sequence[bool], wanted: bool) -> float | None:
    chosen = [value for value, flag in zip(values, flags, strict=True) if flag == wanted]
    return mean(chosen) if chosen else None
