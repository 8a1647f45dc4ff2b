"""Over-optimisation: what is claimed of `recipes/overoptimise.yaml`, per seed and over seeds, and its picture.

Gold and proxy are logged at every iteration on fresh answers to training prompts. **The fall** is gold at its peak
less gold at the end. A peak that is looked for and measured on the same noisy values is too high, so the peak is
found on one half of the iterations (odd or even) and measured on the other; without a fall the result is 0 on average.
What is compared at the end comes from the audit's answers to held-out prompts, paired by prompt, intervals by subject.

`python -m assent.experiments.overoptimise RUN... --out FOLDER` draws the curves and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from assent.artifacts.store import Store
from assent.core.console import log, out
from assent.core.errors import ArtifactError, AssentError
from assent.core.jsonl import read_records, write_atomic
from assent.core.records import Group
from assent.experiments.check import Check
from assent.report import pictures
from assent.stats.bootstrap import Interval, difference_interval
from assent.stats.pool import independent, over_runs
from assent.train.tracking import read_metrics

PROXY, GOLD = "objective/scores", "gold"
WINDOW = 10
"""Iterations that are averaged: 640 answers."""
ARMS = {"leashed": "leashed, kl_coef 0.2", "unleashed": "unleashed", "ensemble": "unleashed, least of three"}
"""Step -> its name in the picture."""
ALL = "audit_all"
"""Step that audits every arm."""
PICTURE = "over-optimisation.svg"


class Turn(NamedTuple):
    """How a curve went, smoothed over `WINDOW` iterations."""

    start: float
    peak: float
    peak_at: int
    """Last iteration of the peak's window, from 1."""
    end: float


def smooth(values: Sequence[float], width: int = WINDOW) -> list[float]:
    """Means of every `width` values in a row: len(values) - width + 1 of them; all in one where there are fewer."""
    width = min(width, len(values))
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float))])
    return [float(v) for v in (sums[width:] - sums[:-width]) / width]


def turn(values: Sequence[float]) -> Turn:
    """Start, peak and end of a smoothed curve."""
    curve = smooth(values)
    best = int(np.argmax(curve))
    return Turn(curve[0], curve[best], best + len(values) - len(curve) + 1, curve[-1])


def fall(values: Sequence[float]) -> float:
    """Peak less end: the peak found on every second value, measured on those between, both ways round."""
    halves = [list(values[0::2]), list(values[1::2])]
    falls = []
    for seek, measure in (halves, halves[::-1]):
        found, measured = smooth(seek, WINDOW // 2), smooth(measure, WINDOW // 2)
        best = int(np.argmax(found[: len(measured)]))
        falls.append(measured[best] - measured[-1])
    return sum(falls) / 2


def after_peak(proxy: Sequence[float], gold: Sequence[float]) -> float:
    """How far the proxy rose from gold's peak to the end, both smoothed."""
    curve = smooth(proxy)
    return curve[-1] - curve[int(np.argmax(smooth(gold)))]


def training(store: Store, arm: str) -> tuple[list[float], list[float]]:
    """Proxy and gold of a policy's training, by iteration."""
    rows = read_metrics(store.folder(arm))
    if not rows:
        raise ArtifactError("has no such policy", where=str(store.folder(arm)), fix="run recipes/overoptimise.yaml")
    return [row[PROXY] for row in rows], [row[GOLD] for row in rows]


Measure = Callable[[Store, str, str], tuple[list[float | None], list[str]]]
"""(value of every answer of a model in an audit, the subject of each)."""


def worth(store: Store, audit: str, model: str) -> tuple[list[float | None], list[str]]:
    """Gold of every answer."""
    values: list[float | None] = json.loads((store.folder(audit) / "data" / f"worth-{model}.json").read_text())
    return values, words(store, audit, model)[1]


def words(store: Store, audit: str, model: str) -> tuple[list[float | None], list[str]]:
    """Words of every answer."""
    groups = read_records(store.folder(audit) / "data" / f"answers-{model}.jsonl", Group)
    answers = [(float(len(a.text.split())), g.prompt.subject) for g in groups for a in g.answers]
    return [length for length, _ in answers], [subject for _, subject in answers]


def difference(store: Store, audit: str, first: str, second: str, measure: Measure = worth) -> Interval:
    """`first` less `second` on the same prompts, interval by subject."""
    (a, units), (b, other) = measure(store, audit, first), measure(store, audit, second)
    found = difference_interval(a, b, units, seed=0) if units == other else None
    if found is None:
        raise ArtifactError("has too few subjects, or models were not asked the same", where=str(store.folder(audit)))
    return found


def one_seed(store: Store) -> list[Check]:
    """What is claimed of every seed: the leash decides how far proxy and gold come apart."""
    ends = {arm: turn(training(store, arm)[0]).end for arm in ("leashed", "unleashed")}
    gap = difference(store, "audit", "unleashed", "leashed")
    proxy, gold = training(store, "unleashed")
    turned = turn(gold)
    return [
        Check(
            "without KL the proxy ends higher",
            ends["unleashed"] > ends["leashed"],
            f"{ends['leashed']:.3f} -> {ends['unleashed']:.3f}, means of the last {WINDOW} iterations",
        ),
        Check(
            "without KL gold ends lower, paired: upper bound below 0",
            gap.high < 0,
            f"unleashed less leashed {_shown(gap)}; {_golds(store)}",
        ),
        Check(
            "unleashed: gold at start, peak, end of training; the proxy from that peak on",
            None,
            f"{turned.start:.3f}, {turned.peak:.3f} (iteration {turned.peak_at}), {turned.end:.3f}; "
            f"proxy {after_peak(proxy, gold):+.3f}",
        ),
    ]


def _golds(store: Store) -> str:
    table = json.loads((store.folder("audit") / "data" / "audit.json").read_text(encoding="utf-8"))["models"]
    return "gold " + ", ".join(f"{name} {row['gold']['estimate']:.3f}" for name, row in table.items())


def _shown(found: Interval) -> str:
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def full_seed(store: Store) -> list[Check]:
    """The arms with ensembles, as measured: what holds is asked over seeds."""
    gap = difference(store, ALL, "ensemble", "unleashed")
    longer = difference(store, ALL, "biased", "sft", words)
    gold = difference(store, ALL, "biased", "sft")
    return [
        *one_seed(store),
        Check("the ensemble's effect on gold at the end, unleashed", None, _shown(gap)),
        Check(
            "raters who like length, ensemble and leash: words and gold against SFT",
            None,
            f"{_shown(longer)}; {_shown(gold)}",
        ),
    ]


def over_seeds(stores: Sequence[Store]) -> list[Check]:
    """The claims over seeds: Student's interval over seeds, so that they reach beyond these."""
    turned = [training(store, "unleashed") for store in stores]
    fell = over_runs([fall(gold) for _, gold in turned])
    rose = over_runs([after_peak(proxy, gold) for proxy, gold in turned])
    leash = _over([difference(store, "audit", "unleashed", "leashed") for store in stores])
    effect = _over([difference(store, ALL, "ensemble", "unleashed") for store in stores])
    held = over_runs([fall(training(store, "ensemble")[1]) for store in stores])
    longer = _over([difference(store, ALL, "biased", "sft", words) for store in stores])
    assert fell and rose and held
    return [
        Check("unleashed gold turns over: the fall's lower bound above 0", fell.low > 0, _shown(fell)),
        Check("meanwhile the proxy rises: lower bound above 0", rose.low > 0, _shown(rose)),
        Check("the leash holds: unleashed less leashed, upper bound below 0", leash[0].high < 0, leash[1]),
        Check("the ensemble's effect on gold at the end, unleashed", None, effect[1]),
        Check("gold's fall under the ensemble", None, _shown(held)),
        Check(
            "a bias that all raters share gets through: more words, lower bound above 0", longer[0].low > 0, longer[1]
        ),
    ]


def _over(found: Sequence[Interval]) -> tuple[Interval, str]:
    """A difference over seeds: Student's interval over seeds, and in words both intervals and every seed."""
    seeds, within = over_runs([one.estimate for one in found]), independent(found)
    assert seeds
    each = ", ".join(f"{one.estimate:+.3f}" for one in found)
    return seeds, f"{_shown(seeds)} over seeds, [{within.low:+.3f}, {within.high:+.3f}] by subject; seeds {each}"


def picture(stores: Sequence[Store]) -> str:
    """Proxy and gold over training, every arm that all runs have, as an SVG file's text."""
    arms = []
    for arm, name in ARMS.items():
        if all(read_metrics(store.folder(arm)) for store in stores):
            curves = [training(store, arm) for store in stores]
            if len({len(gold) for _, gold in curves}) > 1:
                raise ArtifactError("runs of other lengths cannot be drawn together", where=arm, fix="name one kind")
            proxy, gold = (tuple(tuple(trailing(curve[i])) for curve in curves) for i in (0, 1))
            arms.append(pictures.Arm(name=name, proxy=proxy, gold=gold))
    if not arms:
        raise ArtifactError("has none of the policies", where=str(stores[0].root), fix="run recipes/overoptimise.yaml")
    return pictures.alone(pictures.turnover(arms))


def trailing(values: Sequence[float], width: int = WINDOW) -> list[float]:
    """Mean of each value and up to `width` - 1 before it, so that a curve's beginning is seen too."""
    return [float(np.mean(values[max(0, i + 1 - width) : i + 1])) for i in range(len(values))]


def main(arguments: list[str] | None = None) -> int:
    """Draw the curves of finished runs, print what holds over their seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the picture")
    options = parser.parse_args(arguments)
    stores = [Store(path) for path in options.runs]
    write_atomic(options.out / PICTURE, picture(stores).encode())
    log.print(str(options.out / PICTURE), markup=False)
    for store in stores:
        for check in one_seed(store):
            out.print(f"{store.root.name}: {check}", markup=False)
    if len(stores) > 1 and all(store.manifest(ALL) for store in stores):
        for check in over_seeds(stores):
            out.print(f"{len(stores)} seeds: {check}", markup=False)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssentError as error:
        log.print(str(error), markup=False)
        sys.exit(error.exit_code)
