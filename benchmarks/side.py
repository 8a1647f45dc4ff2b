"""The parent's handle on a worker: start it in its environment, ask it, end it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.workload import Task

ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A benchmark that cannot be run: one clear message, exit code 2."""

    exit_code = 2


class Refused(BenchError):
    """A row whose two sides do not compute the same numbers: its times would compare different work."""

    exit_code = 1


@dataclass
class Ask:
    """A worker process. `label` is used in messages; its stderr goes to `log`."""

    label: str
    process: subprocess.Popen[str]
    log: Path
    versions: dict[str, str]

    def __call__(self, do: str) -> dict[str, Any]:
        """Ask for `loss`, `step`, `peak` or `ceiling` and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do}) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended; the empty answer says so
        return _reply(self.process, self.label, self.log)

    def close(self) -> None:
        """End the worker."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Ask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start(label: str, python: Path, module: str, task: Task) -> Ask:
    """Start a worker and wait until it is ready."""
    folder = Path(task.folder)
    path, log = folder / f"{label}.task.json", folder / f"{label}.log"
    task.save(path)
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(python), "-m", "benchmarks.worker", module, str(path)],
            cwd=ROOT,
            env=environment(task),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    ask = Ask(label, process, log, {})
    try:
        ask.versions.update(_reply(process, label, log)["versions"])
    except BaseException:
        ask.close()
        raise
    return ask


def environment(task: Task) -> dict[str, str]:
    """Variables of a worker: its threads, no spinning while it waits for work, no GPU unless asked, no network."""
    changed = {
        "OMP_NUM_THREADS": str(task.threads),
        "MKL_NUM_THREADS": str(task.threads),
        "GOMP_SPINCOUNT": "2000",  # as the assent command sets it; spinning for long would burn the other side's core
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if task.device == "cpu":
        changed["CUDA_VISIBLE_DEVICES"] = ""
    return {**os.environ, **changed}


def _reply(process: subprocess.Popen[str], label: str, log: Path) -> dict[str, Any]:
    assert process.stdout
    line = process.stdout.readline()
    answer: dict[str, Any] = json.loads(line) if line else {"error": f"ended with code {process.wait()}"}
    if "error" in answer:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise BenchError(f"{label}: {answer['error']}\n  its last words, from {log}:\n{tail}")
    return answer
