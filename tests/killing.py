"""Runs training in forked children that are killed with SIGKILL; started by test_train_kill.py.

A child dies at its n-th Python call or return, n drawn at random: any point of sampling, of an update, of
writing a log line or a checkpoint. That is as brutal as a kill from outside, and happens again for the
same seed. Forks come from this small process because a test runner has threads.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.utils.tensorboard  # what children import first would take most of their events
from safetensors.torch import save_file

import tiny_adapters
import tiny_methods as made
from assent.train import checkpoint, loop
from assent.train.tracking import read_metrics

METHODS: dict[str, Callable[[], object]] = {
    "sft": lambda: made.sft(torch.float32),
    "reward": lambda: made.reward(torch.float32),
    "ppo": lambda: made.ppo(
        torch.float32,
        kl={"control": "adaptive", "target": 0.01, "horizon": 20},
        reward_scale="running",
        asked=20,
    ),
    "dpo": lambda: made.dpo(torch.float32),
    "dpo-kto": lambda: made.dpo(torch.float32, told={"loss": "kto"}),
    "dpo-simpo": lambda: made.dpo(torch.float32, told={"loss": "simpo", "beta": 2.0}),
    "online-dpo": lambda: made.online_dpo(torch.float32),
    "grpo": lambda: made.grpo(torch.float32, kl={"coef": 0.05}),
    "grpo-resample": lambda: made.grpo(torch.float32, rule=made.mostly_even, truncated="mask", resample=2),
    "rloo": lambda: made.rloo(torch.float32, whiten=True),
    "ppo-shared": lambda: made.ppo(torch.float32, value={"trunk": "shared", "warmup": 3}, early_stop_kl=1e-4),
    "ppo-adapter": lambda: tiny_adapters.ppo(torch.float32),
}
FINAL = "final.safetensors"


def train(name: str, folder: Path, at: int | None = None, count_into: Path | None = None) -> None:
    """Train to the end, or to the death at event `at` of the loop; then write what came out."""
    method, seen = METHODS[name](), 0

    def count(*event: object) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count if at or count_into else None)
    loop.run(method, made.limits(), folder, name)
    sys.setprofile(None)
    if count_into:
        count_into.write_text(str(seen))
    flat = {
        f"{m}/{k}": p.detach().clone() for m, module in method.modules.items() for k, p in module.named_parameters()
    }
    save_file(flat, folder / FINAL)
    (folder / "state.json").write_text(json.dumps(method.state()))


def child(work: Callable[[], None]) -> int:
    """Exit code of `work` in a fork; minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> tuple[object, ...]:
    """Everything that must be the same: weights and samples to the byte, figures but for wall-clock ones."""
    figures = [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder)]
    files = [(folder / name).read_bytes() for name in (FINAL, "samples.jsonl", "state.json")]
    return (*files, figures)


def killed_until_done(name: str, folder: Path, events: int, draw: random.Random) -> list[int]:
    """Train, dying again and again; the points of death."""
    points: list[int] = []
    while True:
        at = draw.randint(1, events // 2) if len(points) < 6 else None
        code = child(partial(train, name, folder, at))
        if code == 0:
            return points
        assert code == -signal.SIGKILL and at is not None, code
        points.append(at)


def full_disk(name: str, folder: Path, events: int) -> str:
    """Die half-way, go on with a limit on the size of files, go on without."""
    assert child(lambda: train(name, folder, events // 2)) == -signal.SIGKILL
    kept = (folder / checkpoint.FILE).read_bytes()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, resource.RLIM_INFINITY))
        try:
            train(name, folder)
        except OSError as error:
            print(f"limited: {error.strerror}", flush=True)
        else:
            raise AssertionError("the limit was not felt")

    assert child(limited) == 0
    assert (folder / checkpoint.FILE).read_bytes() == kept, "the old checkpoint was touched"
    assert not list(folder.glob(".*.tmp")), "a half-written file was left"
    assert child(lambda: train(name, folder)) == 0
    return "kept"


def main(name: str, root: Path, seed: int) -> None:
    torch.set_num_threads(1)
    METHODS[name]()  # its imports too
    straight, counted = root / "straight", root / "events"
    assert child(lambda: train(name, straight, None, counted)) == 0
    events, expected = int(counted.read_text()), outcome(straight)
    draw = random.Random(seed)
    for chain in range(2):
        folder = root / f"killed{chain}"
        points = killed_until_done(name, folder, events, draw)
        assert outcome(folder) == expected, f"killed at {points} of {events} events: another result"
        print(f"{name}: killed at {points} of {events} events, the same bits", flush=True)
    full_disk(name, root / "full", events)
    assert outcome(root / "full") == expected, "after a full disk: another result"
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
