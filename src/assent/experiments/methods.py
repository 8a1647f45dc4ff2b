"""Which methods beat SFT in the lab, and at what cost beside PPO: `recipes/frontier.yaml`, per seed and over seeds.

A question with an answer in numbers, not a claim that each method wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from assent.artifacts.store import Store
from assent.experiments.check import Check
from assent.experiments.frontier import frontier
from assent.report.data import Number
from assent.report.frontier import Point

BESIDE = "ppo"
"""Name of the model whose seconds the others' are told in."""


def one_seed(store: Store) -> list[Check]:
    """Every method's win rate against SFT on gold, and its seconds."""
    return _answers(frontier([store.root]).points)


def over_seeds(stores: Sequence[Store]) -> list[Check]:
    """The same over seeds, with the number of seeds on which the lower bound lies above 0.5."""
    return _answers(frontier([store.root for store in stores]).points)


def _answers(points: Sequence[Point]) -> list[Check]:
    ppo = next((p for p in points if p.name == BESIDE), None)
    return [
        Check(f"{p.label}: does it beat SFT, lower bound above 0.5?", None, f"{_verdict(p)}; {_cost(p, ppo)}")
        for p in points
        if p.win_rate.value is not None
    ]


def _verdict(p: Point) -> str:
    won = [_above(number) for number in p.win_rate_by_seed.values()]
    said = f"yes on {sum(won)} of {len(won)} seeds" if len(won) > 1 else "yes" if won[0] else "no"
    wins = f"{p.win_rate.value:.3f} [{p.win_rate.low:.3f}, {p.win_rate.high:.3f}]"
    return f"{said}: {wins}, gold {p.worth.value:.3f}, KL {p.kl.value:.2f}"


def _above(number: Number) -> bool:
    return number.low is not None and number.low > 0.5


def _cost(p: Point, ppo: Point | None) -> str:
    """Seconds of the step, and with the rankings and reward model it needs, beside PPO's."""
    parts = []
    for what, name in (("seconds", "itself"), ("total_seconds", "with what it needs")):
        own, other = getattr(p, what), getattr(ppo, what, None)
        if own is not None:
            parts.append(f"{own:.0f} s {name}" + (f" ({own / other:.2f} of PPO's)" if other else ""))
    return ", ".join(parts)
