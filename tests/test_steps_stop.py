"""Stopped by hand or by a loss that is no number: a clean end, and the same bits when the run goes on."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toy_run
from assent.artifacts.store import Store
from assent.engine.generate import LocalGenerator
from assent.methods import sft
from assent.methods.ppo import Ppo
from assent.methods.reward import Reward
from assent.methods.sft import Sft
from assent.train import checkpoint
from assent.train.tracking import read_metrics
from toy_run import assent

LATER: dict[str, tuple[str, ...]] = {
    "pretrain": (),
    "sft": ("pretrain",),
    "reward": ("pretrain", "sft", "collect"),
    "ppo": ("pretrain", "sft", "collect", "reward"),
}
"""Step -> finished steps it needs."""


def content(run: Path, step: str) -> str:
    manifest = Store(run).manifest(step)
    assert manifest is not None
    return manifest.content


def figures(run: Path, step: str) -> list[dict[str, float]]:
    """Metrics without the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run / step)]


def at_step(method: type[Any], wanted: int, do: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `do` while the method is in step `wanted`."""
    before = method.observe

    def observe(self: Any, step: int) -> dict[str, float]:
        if step == wanted:
            do()
        return before(self, step)  # type: ignore[no-any-return]

    patch.setattr(method, "observe", observe)


@pytest.mark.parametrize(
    ("step", "method", "when", "number"),
    [
        ("pretrain", Sft, 7, signal.SIGINT),
        ("sft", Sft, 2, signal.SIGTERM),
        ("sft", Sft, 5, signal.SIGINT),  # its last step: the steps after it must not begin
        ("reward", Reward, 1, signal.SIGINT),
        ("ppo", Ppo, 0, signal.SIGINT),
    ],
)
def test_ctrl_c_ends_with_130_and_the_run_goes_on_to_the_same_bits(
    step: str, method: type[Any], when: int, number: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = toy_run.copy(tmp_path, *LATER[step]) if LATER[step] else tmp_path
    command = ("run", toy_run.recipe(), "--out", run, "--until", step)
    with monkeypatch.context() as patch:
        at_step(method, when, lambda: signal.raise_signal(number), patch)
        assert assent(*command) == 130
    said = capsys.readouterr().err
    assert f"stopped after step {when + 1}" in said and "same command again" in said
    assert "Traceback" not in said and "error:" not in said
    assert (run / step / checkpoint.FILE).exists() and not (run / step / "manifest.json").exists()
    assert assent(*command) == 0
    assert f"on from step {when + 1}" in capsys.readouterr().err
    assert content(run, step) == content(toy_run.finished(), step)
    assert figures(run, step) == figures(toy_run.finished(), step)


def test_ctrl_c_between_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While answers are sampled there is no checkpoint to write, but exit code and message are the same."""
    run = toy_run.copy(tmp_path, "pretrain", "sft")
    command = ("run", toy_run.recipe(), "--out", run, "--until", "collect")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalGenerator, "draw", stop)
        assert assent(*command) == 130
    said = capsys.readouterr().err
    assert "stopped:" in said and "same command again" in said and "Traceback" not in said
    assert assent(*command) == 0
    assert content(run, "collect") == content(toy_run.finished(), "collect")


def test_killed_while_it_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last checkpoint is there, half a model beside it: only the whole one counts."""
    run = toy_run.copy(tmp_path, "pretrain")
    command = ("run", toy_run.recipe(), "--out", run, "--until", "sft")

    def die(folder: Path, *_: Any) -> None:
        folder.mkdir()
        (folder / "model-00001-of-00002.safetensors").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("assent.steps.export.save", die)
        assert assent(*command) == 130
    assert assent(*command) == 0
    assert content(run, "sft") == content(toy_run.finished(), "sft")


def test_a_loss_that_is_no_number_stops_names_the_batch_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run.copy(tmp_path, "pretrain")
    # Where checkpoints are written is a setting, so a run to compare with needs the same one.
    command = ("run", toy_run.recipe(), "sft.limits.checkpoint_every=2", "--until", "sft", "--out")
    whole = toy_run.copy(tmp_path / "whole", "pretrain")
    assert assent(*command, whole) == 0
    true_loss, calls = sft.sft_loss, iter(range(100))

    def poisoned(*given: Any) -> Any:
        return true_loss(*given) * (math.nan if next(calls) >= 3 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(sft, "sft_loss", poisoned)
        assert assent(*command, run) == 2
    said = capsys.readouterr().err
    assert "the loss is not a finite number" in said and "the batch holds groups" in said
    assert "the last checkpoint is kept" in said and "Traceback" not in said
    assert not (run / "sft" / "manifest.json").exists()
    assert assent(*command, run) == 0
    assert "on from step 2 of 6" in capsys.readouterr().err
    assert content(run, "sft") == content(whole, "sft")


def test_a_learning_rate_that_explodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No fault is planted: weights overflow by themselves, and the run says so instead of going on."""
    run = toy_run.copy(tmp_path, "pretrain")
    lr = "sft.optimiser={lr: 1.0e+30, warmup: 0, schedule: constant}"
    assert assent("run", toy_run.recipe(), lr, "--out", run, "--until", "sft") == 2
    said = capsys.readouterr().err
    assert "is not a finite number" in said and "lower optimiser.lr" in said
    assert not (run / "sft" / "weights").exists()
