"""One line a rater: how much he judged, and what `stats.monitors` watches of him. Always with n."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from assent.core.records import Rater
from assent.formats.feedback import Feedback, current
from assent.stats.monitors import LEAST, Monitor, monitors

SHOWN = ("left", "ties", "length", "agreement", "repeats", "seconds")
"""Monitors that need no key of gold verdicts, which only a store has."""
SHARES = ("left", "ties", "agreement", "repeats")
HEAD = ("rater", "kind", "n", "skips", *SHOWN)
NOTE = (
    "left: choices of the answer shown first; length: log-odds of the longer answer; agreement: with others' votes\n"
    "(n) cases; `-` below the least n: " + ", ".join(f"{name} {LEAST[name]}" for name in SHOWN) + "; `!` worth a look"
)


@dataclass(frozen=True)
class RaterLine:
    """One rater's judgments that stand, the skips among them, and his monitors by name."""

    rater: Rater
    judgments: int
    skips: int
    watched: dict[str, Monitor]

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of HEAD."""
        counts = (str(self.judgments), str(self.skips))
        return (self.rater.id, self.rater.kind, *counts, *(_cell(self.watched.get(name)) for name in SHOWN))


def raters(feedback: Feedback) -> list[RaterLine]:
    """One line for each rater, in the order of the source."""
    now = current(feedback.judgments)
    count, skips = Counter(j.rater for j in now), Counter(j.rater for j in now if j.outcome == "skip")
    watched = monitors(feedback.judgments, feedback.by_id())
    return [
        RaterLine(r, count[r.id], skips[r.id], {monitor.name: monitor for monitor in watched.get(r.id, ())})
        for r in feedback.raters
    ]


def _cell(monitor: Monitor | None) -> str:
    if monitor is None or monitor.found is None or not monitor.enough:
        return f"- ({monitor.n if monitor else 0})"
    value = f"{monitor.found.estimate:.0%}" if monitor.name in SHARES else f"{monitor.found.estimate:.2g}"
    return f"{value} ({monitor.n})" + ("!" if monitor.flagged else "")
