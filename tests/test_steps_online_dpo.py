"""The online_dpo step on a toy run: what it leaves, that SimPO loads no reference, how it resumes, what it refuses."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pytest

import toy_data
import toy_run
from assent.artifacts.store import Store
from assent.methods.online_dpo import OnlineDpo
from assent.models.load import load_policy
from assent.train.tracking import read_metrics
from test_steps_stop import at_step, content, figures
from toy_run import assent

ONLINE = {"iterations": 3, "prompts": 6, "answers": 3, "sampling": {"max_tokens": 8}}


def nothing(completions, **_):
    return [1.0 for _ in completions]


def recipe(folder: Path, *rewards: str, **settings: Any) -> Path:
    """Online DPO on the toy run's reward model, or on the named functions of this file."""
    named = [f"{__name__}:{name}" for name in rewards]
    return toy_run.write_online(folder, "online_dpo", {**ONLINE, **settings}, named)


def start(folder: Path) -> Path:
    return toy_run.copy(folder / "run", *toy_run.REWARDED)


def test_it_runs_beside_the_others(tmp_path: Path) -> None:
    run = start(tmp_path)
    assert assent("run", recipe(tmp_path), "--out", run) == 0
    rows = read_metrics(run / "online_dpo")
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[-1]["episode"] == 3 * 18
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert abs(rows[0]["objective/kl"]) < 1e-5 and all("gold" in row for row in rows)
    manifest = Store(run).manifest("online_dpo")
    assert manifest and {"kl", "scores", "mean_length"} <= manifest.headline.keys()
    before, after = (load_policy(run / step / "weights").state_dict() for step in ("sft", "online_dpo"))
    assert any(not before[name].equal(after[name]) for name in before)


def test_simpo_loads_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a reference was loaded")

    monkeypatch.setattr("assent.models.adapters.reference_of", never)
    run = start(tmp_path)
    path = recipe(tmp_path, loss="simpo", beta=2.0, gamma=0.5)
    assert assent("run", path, "--out", run, "--until", "online_dpo") == 0
    assert all("objective/kl" not in row for row in read_metrics(run / "online_dpo"))


def test_stopped_by_hand_it_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, stopped = start(tmp_path / "a"), start(tmp_path / "b")
    path = recipe(tmp_path)
    assert assent("run", path, "--out", straight, "--until", "online_dpo") == 0
    with monkeypatch.context() as patch:
        at_step(OnlineDpo, 0, lambda: signal.raise_signal(signal.SIGINT), patch)
        assert assent("run", path, "--out", stopped, "--until", "online_dpo") == 130
    assert assent("run", path, "--out", stopped, "--until", "online_dpo") == 0
    assert figures(stopped, "online_dpo") == figures(straight, "online_dpo")
    assert content(stopped, "online_dpo") == content(straight, "online_dpo")


def test_a_reward_that_says_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    path = recipe(tmp_path, "nothing", no_eos_penalty=0.0)
    assert assent("run", path, "--out", run, "--until", "online_dpo") == 0
    assert "no group has two answers that score differently" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answers": 1}, "greater than or equal to 2"),
        ({"gamma": 1.0}, "`gamma` is not read with `loss: dpo`"),
        ({"prompts": 6, "minibatches": 4}, "multiple of minibatches"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in toy_data.refused(capsys, "run", recipe(tmp_path, **settings))
