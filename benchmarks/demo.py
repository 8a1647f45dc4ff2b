"""The demo before the engine was made fast, against the demo now: seconds of its training and sampling steps.

Both are whole runs in the project's own environment, as a user starts them, with the recipe each revision ships
(one thread). Their seconds are those each step writes into its own manifest: loading of libraries is not in them.
The audit is left out; it neither trains nor is asked for.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from benchmarks.session import Session, difference, order, ratios
from benchmarks.side import ROOT, BenchError

BEFORE = "f9737cb"
"""The last revision whose engine computed every row in full."""
STEPS = ("pretrain", "sft", "collect", "reward", "ppo")
REDUCED = ("pretrain.steps=40", "sft.epochs=1", "collect.prompts=64", "collect.held_out_prompts=32", "ppo.iterations=2")
MOST_ROUNDS = 3
"""A round takes minutes."""


def run(session: Session) -> dict[str, Any]:
    """Measure the row: whole runs in turns, a step's seconds from its manifest."""
    home = ROOT / "runs" / "bench" / "demo"
    sources = {"ours": ROOT / "src", "theirs": export(BEFORE, home / "before")}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    steps: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    losses: dict[str, float] = {}
    for round_ in range(min(session.rounds, MOST_ROUNDS)):
        for side in order(round_):
            found, losses[side] = _demo(sources[side], home / side, session.options.reduced)
            steps[side].append(found)
            seconds[side].append(sum(found.values()))
        print(
            f"  round {round_ + 1}: now {seconds['ours'][-1]:.1f} s, before {seconds['theirs'][-1]:.1f} s", flush=True
        )
    sides = {
        side: {"seconds": seconds[side], "median": statistics.median(seconds[side]), "steps": steps[side]}
        for side in seconds
    }
    by_step = {
        name: ratios([s[name] for s in steps["ours"]], [s[name] for s in steps["theirs"]])["value"] for name in STEPS
    }
    print("  " + ", ".join(f"{name} {value:.2f}x" for name, value in by_step.items()), flush=True)
    agreement = {
        "ours": {"loss": losses["ours"]},
        "theirs": {"loss": losses["theirs"]},
        "relative_difference": difference(losses["ours"], losses["theirs"]),
        "what": "first loss of the SFT step, after all of pretraining",
    }
    return {**ratios(seconds["ours"], seconds["theirs"]), "by_step": by_step, "agreement": agreement, **sides}


def export(revision: str, folder: Path) -> Path:
    """The package's source at a revision, without touching the working tree."""
    done = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "src"], capture_output=True)
    if done.returncode:
        raise BenchError(f"revision {revision} is not in this repository: {done.stderr.decode().strip()}")
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def _demo(source: Path, out: Path, reduced: bool) -> tuple[dict[str, float], float]:
    """One run from nothing: seconds by step, and the SFT step's first loss."""
    shutil.rmtree(out, ignore_errors=True)
    recipe = source / "assent" / "recipes" / "demo.yaml"
    words = ["run", str(recipe), *(REDUCED if reduced else ()), "--until", "ppo", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", "from assent.cli.main import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchError(f"the demo of {source} failed:\n{(done.stdout + done.stderr)[-1500:]}")
    seconds = {name: json.loads((out / name / "manifest.json").read_text("utf-8"))["seconds"] for name in STEPS}
    first = (out / "sft" / "metrics.jsonl").read_text("utf-8").splitlines()[0]
    return seconds, float(json.loads(first)["loss"])
