"""The matmul ceiling: how fast torch multiplies matrices of the model's own shapes, here and now.

Measured in the same run, in the process and with the threads that do the work. For each weight matrix the three
products of training (forward, gradient of the input, gradient of the weight) at several numbers of rows; the
fastest counts. The ceiling of a row weighs the matrices by the FLOPs the row spends on each; attention's
products count at the mean rate of the others. Efficiency = useful FLOPs / (seconds x ceiling).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from benchmarks.flops import ATTENTION, Mix, shape_of
from benchmarks.workload import Task

ROWS = (256, 1024, 4096)
REPEATS = 5


def rates(task: Task) -> list[list[float]]:
    """[in, out, FLOP/s] for every distinct matrix of the policy, LM head included."""
    import torch

    shape = shape_of(task.model(task.settings.get("ceiling_model", "policy")))
    dtype = getattr(torch, task.dtype)
    found = []
    for fan_in, fan_out in sorted({*shape.matrices, (shape.hidden, shape.vocabulary)}):
        best = max(_rate(torch, rows, fan_in, fan_out, task.device, dtype) for rows in ROWS)
        found.append([fan_in, fan_out, best])
    return found


def _rate(torch: Any, rows: int, fan_in: int, fan_out: int, device: str, dtype: Any) -> float:
    """Best FLOP/s of the three products of one linear layer; skips what would not fit in a cache of 0.5 GB."""
    if rows * fan_out * 4 > 2**29:
        return 0.0
    x = torch.randn(rows, fan_in, device=device, dtype=dtype)
    w = torch.randn(fan_out, fan_in, device=device, dtype=dtype)
    y = torch.randn(rows, fan_out, device=device, dtype=dtype)
    work, seconds = 2.0 * rows * fan_in * fan_out, 0.0
    for left, right in ((x, w.T), (y, w), (y.T, x)):
        seconds += min(_seconds(torch, left, right, device) for _ in range(REPEATS))
    return 3 * work / seconds


def _seconds(torch: Any, left: Any, right: Any, device: str) -> float:
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    left @ right
    wait()
    return time.perf_counter() - began


def faster(first: list[list[float]], second: list[list[float]]) -> list[list[float]]:
    """The better of two measurements, matrix by matrix: a ceiling is what was reached at best."""
    return [[*a[:2], max(a[2], b[2])] for a, b in zip(first, second, strict=True)]


def least_seconds(mix: Mix, measured: list[list[float]]) -> float:
    """Seconds the useful arithmetic would take at the ceiling."""
    rate = {(int(fan_in), int(fan_out)): value for fan_in, fan_out, value in measured}
    known = {kind: flops for kind, flops in mix.items() if kind in rate}
    seconds = sum(flops / rate[kind] for kind, flops in known.items())
    # Attention, and heads with a single output, have no rate of their own.
    return seconds * sum(mix.values()) / sum(known.values())


def summary(mix: Mix, measured: list[list[float]], seconds: float) -> Mapping[str, float]:
    """Useful GFLOP, the ceiling in GFLOP/s, and the share of it that a step of `seconds` reached."""
    total, least = sum(mix.values()), least_seconds(mix, measured)
    return {
        "useful_gflop": total / 1e9,
        "attention_gflop": mix.get(ATTENTION, 0.0) / 1e9,
        "ceiling_gflops": total / least / 1e9,
        "floor_seconds": least,
        "efficiency": least / seconds,
    }
