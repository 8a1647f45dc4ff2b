"""Where a run's figures go: metrics.jsonl and samples.jsonl always, TensorBoard beside them.

On resume the files are cut at the checkpoint, so that no step stands twice.
"""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from assent.core.jsonl import write_atomic

METRICS, SAMPLES, BOARD = "metrics.jsonl", "samples.jsonl", "tensorboard"


class Tracker:
    """Appends one line of figures, and a few samples, per logged step."""

    def __init__(self, folder: Path, finished_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, SAMPLES):
            cut(folder / name, finished_steps)
        self._metrics = (folder / METRICS).open("a", encoding="utf-8")
        self._samples = (folder / SAMPLES).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / BOARD), purge_step=finished_steps or None)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.close()
        self._samples.close()
        self._board.close()

    def log(self, step: int, metrics: dict[str, float], samples: list[dict[str, Any]]) -> None:
        """Write the figures of a step (0-based). One that is not defined (0/0) is left out: NaN is no JSON."""
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._metrics.write(json.dumps({"step": step, **metrics}) + "\n")
        self._metrics.flush()
        for sample in samples:
            self._samples.write(json.dumps({"step": step, **sample}, ensure_ascii=False) + "\n")
        self._samples.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def checkpoint(self) -> None:
        """Make sure TensorBoard's figures are on disk too."""
        self._board.flush()


class Nowhere(nullcontext["Nowhere"]):
    """Stands in for the tracker on ranks that write nothing."""

    def __enter__(self) -> Nowhere:
        return self

    def log(self, step: int, metrics: dict[str, float], samples: list[dict[str, Any]]) -> None:
        """Rank 0 logs the same figures."""

    def checkpoint(self) -> None:
        """Nothing to flush."""


def cut(path: Path, finished_steps: int) -> None:
    """Keep only whole lines of steps before `finished_steps`."""
    if not path.exists():
        return
    kept = []
    # Not splitlines(): a sampled text may hold line separators (U+2028, U+0085) that JSON leaves as they are.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] < finished_steps:
            kept.append(line + "\n")
    write_atomic(path, "".join(kept).encode())


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All logged lines of a step's folder; empty where it logs none."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
