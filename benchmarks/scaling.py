"""Cost as the work grows: seconds of our step over answers, answer length and vocabulary, with fitted exponents.

An exponent of 1 means that twice the size takes twice the time; shared prompts and fixed costs bring it below 1,
attention (whose arithmetic grows with the square of the length) above. Beside it stands the exponent of the useful
FLOPs over the same sizes: what no program could go below for long.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from benchmarks.results import RESULTS
from benchmarks.session import Session, exponent
from benchmarks.workload import Work

AXES: dict[str, tuple[int, ...]] = {
    "answers": (1, 2, 4, 8, 16),
    "length": (64, 128, 256, 512, 1024),
    "vocabulary": (1024, 4096, 16384, 65536, 131072),
}
LABELS = {"answers": "answers per prompt", "length": "answer length in tokens", "vocabulary": "vocabulary"}


def run(session: Session) -> dict[str, Any]:
    """Measure all points; the headline is the largest exponent of seconds."""
    axes = {axis: _axis(session, axis, sizes) for axis, sizes in AXES.items()}
    worst = max(found["exponent"] for found in axes.values())
    if not session.options.reduced:
        plot(axes)
    return {"value": worst, "low": worst, "high": worst, "axes": axes}


def at(work: Work, axis: str, size: int) -> Work:
    """The row's work with one size changed."""
    if axis == "answers":
        return replace(work, answers=size)
    return replace(work, answer=(size, size)) if axis == "length" else replace(work, vocabulary=size)


def _axis(session: Session, axis: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    sizes = sizes[:3] if session.options.reduced else sizes
    seconds, flops = [], []
    for size in sizes:
        row = replace(session.row, work=at(session.row.work, axis, size))
        point = replace(session, name="scaling", row=row)
        with point.ours() as ours:
            ours("step")
            seconds.append(statistics.median(ours("step")["seconds"] for _ in range(session.rounds)))
        flops.append(sum(point.mix().values()))
        print(f"  {axis} {size}: {seconds[-1]:.3f} s", flush=True)
    found = {"exponent": exponent(sizes, seconds), "flops_exponent": exponent(sizes, flops)}
    print(f"  {axis}: exponent {found['exponent']:.2f}, of the useful FLOPs {found['flops_exponent']:.2f}", flush=True)
    return {"sizes": list(sizes), "seconds": seconds, "gflop": [f / 1e9 for f in flops], **found}


def plot(axes: dict[str, dict[str, Any]]) -> None:
    """Seconds over size, one panel an axis, both logarithmic, with the line of slope 1 through the last point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for panel, (axis, found) in zip(figure.subplots(1, len(axes)), axes.items(), strict=True):
        sizes, seconds = found["sizes"], found["seconds"]
        panel.loglog(sizes, seconds, marker="o", label=f"measured, exponent {found['exponent']:.2f}")
        linear = [seconds[-1] * size / sizes[-1] for size in sizes]
        panel.loglog(sizes, linear, linestyle="--", color="grey", label="linear")
        panel.set(xlabel=LABELS[axis], ylabel="seconds of a step")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / "scaling.svg", metadata={"Date": None})
