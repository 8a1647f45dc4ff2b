"""Two processes of one thread each against one process of one thread, on the same SFT step.

`run` measures the row; `build` makes a side of it: the worker is rank 0 and starts the other ranks, which do
whatever rank 0 is asked to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from assent.core.errors import TrainingError
from assent.engine import ranks
from benchmarks import paired
from benchmarks.ours import training
from benchmarks.session import Session
from benchmarks.workload import Task, read_task


def run(session: Session) -> dict[str, Any]:
    """Paired steps, one thread a process whatever was asked."""
    return paired.run(replace(session, options=replace(session.options, threads=1)))


class Together:
    """A training side whose every step all ranks do."""

    def __init__(self, task: Task, store: dist.Store | None = None) -> None:
        self.store = store  # rank 0 holds the server as long as it lives
        self.side = training.build(replace(task, row="sft", variant={}))

    def loss(self) -> dict[str, float]:
        """Loss and gradient norm of the first batch."""
        return self.do("loss")

    def step(self) -> dict[str, float]:
        """One update."""
        return self.do("step")

    def do(self, what: str | None = None) -> dict[str, float]:
        """Do what rank 0 says; the other ranks call it without an argument."""
        result: dict[str, float] = getattr(self.side, ranks.first(lambda: str(what)))()
        return result


def build(task: Task) -> Together:
    """Start the other ranks, which find the task in a file, and join them."""
    n, path = int(task.variant["ranks"]), Path(task.folder) / "ranks.task.json"
    task.save(path)
    # As with torchrun, the store is there before the ranks: a port that is free now could be taken until one binds it.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    job = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    job["TORCHELASTIC_USE_AGENT_STORE"] = True
    for rank in reversed(range(n)):
        os.environ |= {name: str(value) for name, value in {**job, "RANK": rank, "LOCAL_RANK": rank}.items()}
        if rank:
            subprocess.Popen([sys.executable, "-m", "benchmarks.ranks", str(path)], stdin=subprocess.DEVNULL)
    ranks.start()
    return Together(task, store)


def follow(path: str) -> None:
    """A rank after the first: until rank 0 has gone."""
    task = read_task(path)
    torch.set_num_threads(task.threads)
    ranks.start()
    side = Together(task)
    with suppress(TrainingError):
        while True:
            side.do()


if __name__ == "__main__":
    follow(sys.argv[1])
