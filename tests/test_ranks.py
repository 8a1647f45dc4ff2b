"""Several processes: the numbers of one process, one writer, and an end for all when one ends."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ranked
import toy_run
from assent.artifacts.store import Store
from assent.core.errors import ConfigError
from assent.engine import ranks
from assent.train import checkpoint
from assent.train.tracking import read_metrics

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}
WITHIN = 900
"""Seconds after which a job that should have ended is taken to hang."""


def forked(part: str, folder: Path) -> dict[str, str]:
    """What ranked.py printed for a part, on either channel, by its headings."""
    found = subprocess.run(
        [sys.executable, str(HERE / "ranked.py"), part, str(folder)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN,
    )
    print(found.stdout)
    assert found.returncode == 0 and found.stdout.strip().endswith("done")
    pieces = re.split(r"^== (.*)\n", found.stdout, flags=re.MULTILINE)
    return {"": pieces[0]} | dict(zip(pieces[1::2], pieces[2::2], strict=True))


def load(path: Path) -> Any:
    return torch.load(path, weights_only=False)  # written by this test


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, text and tensor of nested lists and dictionaries, by its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{name}/{i}")
    else:
        yield name, tree


def same(found: Any, wanted: Any, tolerance: float) -> None:
    """Two trees with the same leaves, numbers within the tolerance (relative to 1 or the largest value)."""
    a, b = dict(leaves(found)), dict(leaves(wanted))
    assert a.keys() == b.keys()
    for name, value in b.items():
        if isinstance(value, Tensor | float):
            gap = torch.as_tensor(a[name]).double() - torch.as_tensor(value).double()
            largest = float(torch.as_tensor(value).double().abs().max())
            assert float(gap.abs().max()) <= tolerance * max(1.0, largest), name
        else:
            assert a[name] == value, name


# The same numbers


def test_every_method_as_in_one_process(tmp_path: Path) -> None:
    """Losses, gradients, norms, weights, figures and state after three steps; all ranks to the bit alike."""
    said = forked("numbers", tmp_path)
    one_asks_and_writes_and_all_know(tmp_path, said["roles"])
    for name in ranked.METHODS:
        one = load(tmp_path / f"{name}.1.0")
        assert any(float(g.abs().max()) > 1e-3 for _, gradient in one["updates"] for g in gradient.values()), name
        for n in (2, 3) if name == "sft" else (2,):
            first, *others = [load(tmp_path / f"{name}.{n}.{r}") for r in range(n)]
            same(first, one, 1e-12)
            for other in others:
                same(other, first, 0.0)


def one_asks_and_writes_and_all_know(tmp_path: Path, said: str) -> None:
    """Part of the test above, since it takes a second of the same process."""
    assert said.count("called on rank 0") == 2 and "called on rank 1" not in said  # once alone, once of two
    for asked in (3, 1):
        wanted = load(tmp_path / f"sampled.{asked}.1.0")
        assert len(wanted.groups) == asked
        for r in range(2):
            found = load(tmp_path / f"sampled.{asked}.2.{r}")
            assert (found.groups, found.tokens) == (wanted.groups, wanted.tokens)
            same(found.logps, wanted.logps, 1e-12)
    scores, logged = load(tmp_path / "scores.1.0")
    assert logged["seen"] == 2.0
    assert all(load(tmp_path / f"scores.2.{r}") == (scores, logged) for r in range(2))
    one, two = (tmp_path / f"run.{n}" for n in (1, 2))
    assert names(one) == names(two)
    assert (one / "samples.jsonl").read_bytes() == (two / "samples.jsonl").read_bytes()
    same(figures(two), figures(one), 1e-9)


def names(folder: Path) -> set[str]:
    """Files under a folder; TensorBoard's, named after the time and the process, without its name."""
    return {re.sub(r"events\..*", "events", str(p.relative_to(folder))) for p in folder.rglob("*") if p.is_file()}


def figures(folder: Path) -> list[dict[str, float]]:
    """Metrics without the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder)]


def test_the_command_leaves_what_one_process_leaves(tmp_path: Path) -> None:
    """The toy loop whole. In fp32 weights differ in their last digits, so it is names and keys that are compared."""
    said = forked("command", tmp_path)
    run, alone = tmp_path / "run", toy_run.finished()
    assert names(run) == names(alone)
    for step in toy_run.RECIPE["steps"]:
        found, wanted = Store(run).manifest(step), Store(alone).manifest(step)
        assert found and wanted
        assert (found.environment["ranks"], wanted.environment["ranks"]) == (2, 1)
        assert found.files.keys() == wanted.files.keys() and found.headline.keys() == wanted.headline.keys()
        Store(run).verify(step)
    pretrain, before = Store(run).manifest("pretrain"), Store(alone).manifest("pretrain")
    assert pretrain and before and pretrain.key == before.key  # how many ranks made it is no part of the key
    same(figures(run / "pretrain"), figures(alone / "pretrain"), 1e-3)
    assert said[""].count("pretrain: parameters") == 1 and said[""].count("report:") == 1
    assert said["again"].count("nothing to do: every step") == 1
    for heading, message in (("a misspelt key", "unknown key `epocs`"), ("a changed recipe", "made by another recipe")):
        assert said[heading].count("error:") == 1 and message in said[heading]
        assert "Traceback" not in said[heading] and "another rank" not in said[heading]
    assert not (tmp_path / "other").exists()


# Ends


def test_one_that_ends_ends_all_and_the_same_command_goes_on(tmp_path: Path) -> None:
    said = forked("ends", tmp_path)
    straight = load(tmp_path / "straight/weights.0")
    for dead in (0, 1):
        found = said[f"rank {dead} is killed"]
        assert found.count("another rank has ended") == 1 and f"rank {1 - dead} of 2" in found
        assert "on from step 3 of 10" in found and "Traceback" not in found
        assert all(a.equal(b) for a, b in zip(load(tmp_path / f"killed{dead}/weights.0"), straight, strict=True))
    for number in (signal.SIGINT, signal.SIGTERM):
        found = said[f"one rank hears {number.name}"]
        assert found.count("stopped after step 5 of 10") == 1 and "another rank" not in found
        same(load(tmp_path / number.name / "weights.0"), straight, 1e-9)  # by one process: not to the bit
    nan = said["a loss that is no number"]
    assert nan.count("the loss is not a finite number; the batch holds groups") == 1 and "another rank" not in nan
    assert (tmp_path / "nan" / checkpoint.FILE).exists()
    drift = said["weights that drift apart"]
    assert drift.count("step 6: the ranks no longer hold the same weights") == 1 and "another rank" not in drift
    full = said["an error on the rank that writes"]
    assert full.count("here: the disk is full") == 1 and "another rank" not in full


@contextmanager
def launched(assent: list[str], recipe: Path, out: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """A job of two ranks by torchrun itself, when it has said `until`; ended at the latest at the end of the block."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    job = subprocess.Popen(
        [*torchrun, *assent, "run", str(recipe), "--out", str(out), "--until", "pretrain"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stderr
    try:
        said = list(itertools.takewhile(lambda line: until not in line, job.stderr))
        assert job.poll() is None, f"ended before it said `{until}`: {''.join(said)}"
        yield job
    finally:
        job.terminate()
        job.wait(WITHIN)
        job.stderr.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks of a job in /proc")
def test_torchrun_itself_stopped_and_killed(tmp_path: Path) -> None:
    """Ctrl-C leaves a checkpoint; the next job goes on from it, and ends when one of its ranks is killed."""
    endless = {"steps": {"pretrain": {**toy_run.RECIPE["steps"]["pretrain"], "steps": 10**6}}}
    recipe, run = tmp_path / "toy.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({**toy_run.RECIPE, **endless}))
    with launched([str(HERE / "ranked.py"), "assent"], recipe, run, "training") as job:
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=WITHIN)
    print(said)
    stopped = re.search(r"stopped after step (\d+) of 1000000; a checkpoint is written", said)
    assert stopped and said.count("stopped:") == 1 and job.returncode != 0
    with launched(["-m", "assent"], recipe, run, f"on from step {stopped[1]} of") as job:
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        second = next(pid for pid in children if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        os.kill(int(second), signal.SIGKILL)
        _, said = job.communicate(timeout=WITHIN)
    print(said)
    assert said.count("another rank has ended") == 1 and job.returncode != 0
    assert not (run / "pretrain/manifest.json").exists()


# The plan


def shares(sizes: list[int], n: int) -> list[list[int]]:
    """Each rank's share."""
    found = []
    for r in range(n):
        with patch.object(ranks, "size", lambda: n), patch.object(ranks, "rank", lambda r=r: r):
            found.append(ranks.share(sizes))
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 100), max_size=8), st.integers(1, 3))
def test_shares_are_a_split_near_the_best(sizes: list[int], n: int) -> None:
    """Against every possible split: the largest share is at most 4/3 - 1/3n of the best one's (Graham 1969)."""
    found = shares(sizes, n)
    assert sorted(i for share in found for i in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in found)
    best = min(
        max(sum(size for size, to in zip(sizes, split, strict=True) if to == r) for r in range(n))
        for split in itertools.product(range(n), repeat=len(sizes))
    )
    assert max(sum(sizes[i] for i in share) for share in found) <= (4 / 3 - 1 / (3 * n)) * best + 1e-9


def test_shares_by_hand() -> None:
    assert shares([2, 7, 3, 5], 2) == [[0, 1], [2, 3]]  # 7 | 5, then 3 to the 5, then 2 to the 7
    assert shares([4], 2) == [[0], []]
    assert shares([], 2) == [[], []]
    assert shares([1, 1, 1], 1) == [[0, 1, 2]]


def test_buckets_hold_neighbours_of_one_type_up_to_their_size() -> None:
    """By hand: 4 + 4 bytes fit into 8, a tensor of 40 stands alone, another type begins a new bucket."""
    given = [torch.zeros(n, dtype=dtype) for n, dtype in [(1, torch.float32)] * 3 + [(10, torch.float32)]]
    given += [torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float32)]
    with patch.object(ranks, "BUCKET", 8):
        found = list(ranks._buckets(given))
    assert [[t.numel() for t in bucket] for bucket in found] == [[1, 1], [1], [10], [1], [1]]
    assert [t for bucket in found for t in bucket] == given


def test_a_process_without_a_gpu_of_its_own_is_refused() -> None:
    with (
        patch.object(torch.cuda, "device_count", lambda: 1),
        pytest.raises(ConfigError, match="process 2 has no GPU of its own; this machine has 1"),
    ):
        ranks._take_gpu(1)


def test_without_torchrun_nothing_is_started() -> None:
    ranks.start()
    assert (ranks.rank(), ranks.size(), ranks.here(), ranks.is_first()) == (0, 1, 1, True)
    assert ranks.gather([1, 2]) == [1, 2] and ranks.first(lambda: 3) == 3 and ranks.any_(True)
    with ranks.one_voice() as speaks:
        assert speaks
