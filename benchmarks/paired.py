"""Two sides on the same work, in turns: A B, B A, A B, ...

First each variant of a side is tried and the fastest kept; then the first losses must agree; then one warm-up
step each and the timed rounds; then one step each under the memory gauge. The ceiling is taken before and after.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.ceiling import faster, summary
from benchmarks.session import Session, check_agreement, difference, order, ratios
from benchmarks.side import Ask, BenchError


def run(session: Session) -> dict[str, Any]:
    """Measure the row; its result as it is written to results/."""
    session.build()
    tried = {side: choose(session, side == "ours") for side in ("ours", "theirs")}
    chosen = {side: min(found, key=lambda name: found[name]["seconds"]) for side, found in tried.items()}
    with (
        session.ours(dict(session.variants(True)[chosen["ours"]])) as ours,
        session.theirs(dict(session.variants(False)[chosen["theirs"]])) as theirs,
    ):
        sides = {"ours": ours, "theirs": theirs}
        agreement = check_agreement(ours("loss"), theirs("loss"), session.tolerance, session.gradients)
        ceiling = ours("ceiling")["rates"]
        seconds, losses = rounds(session, sides)
        ceiling = faster(ceiling, ours("ceiling")["rates"])
        peaks = {side: ask("peak")["peak_mb"] for side, ask in sides.items()}
        versions = {side: ask.versions for side, ask in sides.items()}
    last = {side: found[-1] for side, found in losses.items()}
    if len(last) == 2 and not session.row.sampled:  # each side has drawn answers of its own
        agreement["last_relative_difference"] = difference(last["ours"], last["theirs"])
    tokens = session.tokens()
    result = {
        **ratios(seconds["ours"], seconds["theirs"]),
        "agreement": agreement,
        "tokens": tokens,
        "versions": versions,
    }
    for side, found in seconds.items():
        middle = statistics.median(found)
        result[side] = {
            "variant": chosen[side],
            "tried": tried[side],
            "seconds": found,
            "median": middle,
            "tokens_per_second": tokens / middle,
            "peak_mb": peaks[side],
            **summary(session.mix(), ceiling, middle),
        }
    return result


def rounds(session: Session, sides: dict[str, Ask]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """A warm-up step each, then the paired rounds: seconds and losses by side."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {}
    for ask in sides.values():
        ask("step")
    for round_ in range(session.rounds):
        for side in order(round_):
            answer = sides[side]("step")
            seconds[side].append(answer["seconds"])
            if "loss" in answer:
                losses.setdefault(side, []).append(answer["loss"])
        print(
            f"  round {round_ + 1}: ours {seconds['ours'][-1]:.2f} s, theirs {seconds['theirs'][-1]:.2f} s", flush=True
        )
    return seconds, losses


def choose(session: Session, ours: bool, key: str = "seconds") -> dict[str, dict[str, float]]:
    """What each variant of a side costs after a warm-up, by `key`: `seconds` (the better of two) or `peak_mb`.

    A variant that cannot run here (out of memory, not supported on a CPU) is left out, and said so.
    """
    variants = session.variants(ours)
    if len(variants) == 1:
        return {name: {key: 0.0} for name in variants}
    found: dict[str, dict[str, float]] = {}
    problems = []
    for name, variant in variants.items():
        try:
            with (session.ours if ours else session.theirs)(dict(variant)) as ask:
                first = ask("loss")["loss"]
                ask("step")
                times = 2 if key == "seconds" else 1  # memory hardly varies
                cost = min(ask("step" if key == "seconds" else "peak")[key] for _ in range(times))
        except BenchError as error:
            problems.append(str(error))
            print(f"  {name}: cannot run: {str(error).splitlines()[0]}", flush=True)
            continue
        found[name] = {key: cost, "loss": first}
        print(f"  {'ours' if ours else 'theirs'}, {name}: {cost:.3g} {'s' if key == 'seconds' else 'MB'}", flush=True)
    if not found:
        raise BenchError(f"no variant of the {'our' if ours else 'peer'} side runs; the last: {problems[-1]}")
    return found
