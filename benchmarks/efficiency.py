"""Share of the matmul ceiling that our SFT and DPO steps reach; the ceiling is taken before and after each."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from benchmarks.ceiling import faster, summary
from benchmarks.rows import ROWS
from benchmarks.session import Session

PARTS = ("sft", "dpo-cached")


def run(session: Session) -> dict[str, Any]:
    """Measure both steps; the headline is the lower share."""
    parts = {name: _part(replace(session, name=name, row=ROWS[name])) for name in PARTS}
    lowest = min(parts.values(), key=lambda part: part["efficiency"])
    return {"value": lowest["efficiency"], "low": lowest["low"], "high": lowest["high"], "parts": parts}


def _part(session: Session) -> dict[str, Any]:
    with session.ours() as ours:
        ours("step")
        ceiling, seconds = ours("ceiling")["rates"], []
        for _ in range(session.rounds):
            seconds.append(ours("step")["seconds"])
            ceiling = faster(ceiling, ours("ceiling")["rates"])
    mix, middle = session.mix(), statistics.median(seconds)
    found = dict(summary(mix, ceiling, middle))
    print(f"  {session.name}: {middle:.2f} s, {found['efficiency']:.0%} of {found['ceiling_gflops']:.0f} GFLOP/s")
    return {
        "seconds": seconds,
        "median": middle,
        "low": summary(mix, ceiling, max(seconds))["efficiency"],
        "high": summary(mix, ceiling, min(seconds))["efficiency"],
        **found,
    }
