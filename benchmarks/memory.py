"""Peak memory above import, both sides at their leanest, each in a fresh process: it never runs beside the other."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.paired import choose
from benchmarks.session import Session, check_agreement, ratios

MOST_ROUNDS = 2
"""Memory hardly varies, and a step in 16 pieces at this vocabulary takes TRL a minute."""


def run(session: Session) -> dict[str, Any]:
    """Measure the row. A round is a fresh process of each side: one warm-up step, one step under the gauge."""
    tried = {side: choose(session, side == "ours", "peak_mb") for side in ("ours", "theirs")}
    chosen = {side: min(found, key=lambda name: found[name]["peak_mb"]) for side, found in tried.items()}
    peaks: dict[str, list[float]] = {"ours": [], "theirs": []}
    first: dict[str, dict[str, float]] = {}
    versions: dict[str, dict[str, str]] = {}
    for round_ in range(min(session.rounds, MOST_ROUNDS)):
        for side, begin in (("ours", session.ours), ("theirs", session.theirs)):
            with begin(dict(session.variants(side == "ours")[chosen[side]])) as ask:
                versions[side] = ask.versions
                if round_ == 0:
                    first[side] = ask("loss")
                ask("step")
                peaks[side].append(ask("peak")["peak_mb"])
        agreement = check_agreement(first["ours"], first["theirs"], session.tolerance)
        print(f"  round {round_ + 1}: ours {peaks['ours'][-1]:.0f} MB, theirs {peaks['theirs'][-1]:.0f} MB", flush=True)
    sides = {
        side: {"variant": chosen[side], "tried": tried[side], "peaks_mb": found, "peak_mb": statistics.median(found)}
        for side, found in peaks.items()
    }
    return {**ratios(peaks["ours"], peaks["theirs"]), "agreement": agreement, "versions": versions, **sides}
