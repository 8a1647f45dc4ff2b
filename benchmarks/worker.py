"""One side of a row: a child process that does what the parent asks, one JSON line for each.

    python -m benchmarks.worker MODULE TASK.json

MODULE is imported in this side's own environment and has `build(task) -> Side`. What it imports at the top
counts as "import" when memory is measured. Asked `{"do": "loss"}`, `step`, `peak` or `ceiling`, it answers with
one line. While it waits it is blocked on reading, so it takes nothing from the other side.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Protocol, TextIO

from benchmarks.workload import Task, read_task


class Side(Protocol):
    """What a worker module builds."""

    def loss(self) -> dict[str, float]:
        """`loss`, and `grad_norm` where there is one, of the first batch; the model stays as it is."""
        ...

    def step(self) -> dict[str, float]:
        """One whole step: forward, backward, clip, AdamW, gradients cleared; `loss` of the step.

        It is timed as a whole; `seconds` in the result replaces that time, where only the side can know it.
        """
        ...


def main() -> None:
    """Serve until the parent closes the pipe."""
    out = _own_stdout()
    task = read_task(sys.argv[2])
    try:
        module = importlib.import_module(sys.argv[1])
        import torch

        torch.set_num_threads(task.threads)
        base = _base(task)
        side: Side = module.build(task)
        _say(out, {"ready": True, "versions": _versions()})
        for line in sys.stdin:
            _say(out, answer(side, task, json.loads(line)["do"], base))
    except Exception as error:
        traceback.print_exc()
        _say(out, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)


def answer(side: Side, task: Task, do: str, base: float) -> dict[str, Any]:
    """The reply to one request."""
    if do == "loss":
        return side.loss()
    if do == "step":
        return timed(side, task)
    if do == "peak":
        return {"peak_mb": peak(side, task) - base}
    if do == "ceiling":
        from benchmarks.ceiling import rates

        return {"rates": rates(task)}
    raise ValueError(f"unknown request `{do}`")


def timed(side: Side, task: Task) -> dict[str, Any]:
    """One step and its wall-clock seconds; on a GPU, until it has really ended."""
    _synchronise(task)
    began = time.perf_counter()
    result = side.step()
    _synchronise(task)
    return {"seconds": time.perf_counter() - began, **result}


def _synchronise(task: Task) -> None:
    if task.device == "cuda":
        import torch

        torch.cuda.synchronize()


def _own_stdout() -> TextIO:
    """The protocol's channel; whatever libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _versions() -> dict[str, str]:
    """Versions of what is loaded and matters."""
    names = ("torch", "transformers", "trl", "accelerate", "vllm")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}


# Memory, in MB (10^6 bytes)


def peak(side: Side, task: Task) -> float:
    """Most memory the process held during one step, weights and optimiser state included."""
    if task.device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        side.step()
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the kernel's high-water mark back to what is held now
    except OSError:
        return _sampled_peak(side)
    side.step()
    return _status("VmHWM")


def _base(task: Task) -> float:
    """Memory after import, before anything is built; on a GPU imports hold none."""
    return 0.0 if task.device == "cuda" else _status("VmRSS")


def _status(name: str) -> float:
    path = Path("/proc/self/status")
    if not path.exists():  # macOS: the high-water mark is all there is
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {name}")


def _sampled_peak(side: Side) -> float:
    """Highest of samples every 2 ms, where the kernel's mark cannot be set back."""
    highest, ended = [0.0], threading.Event()

    def sample() -> None:
        while not ended.wait(0.002):
            highest[0] = max(highest[0], _status("VmRSS"))

    thread = threading.Thread(target=sample)
    thread.start()
    side.step()
    ended.set()
    thread.join()
    return highest[0]


if __name__ == "__main__":
    main()
