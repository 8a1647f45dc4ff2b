"""The rloo step on a toy run: what it leaves, its KL, every option of a group at once, what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import toy_data
import toy_run
from assent.artifacts.store import Store
from assent.methods.rloo import Rloo
from assent.train.tracking import read_metrics
from test_steps_stop import at_step, content, figures
from toy_run import assent

RLOO = {"iterations": 3, "prompts": 4, "sampling": {"max_tokens": 8}}


def parity(completions, **_):
    """One of two scores: of a few answers, all are alike now and then."""
    return [float(len(c[0]["content"]) % 2) for c in completions]


def always(completions, **_):
    return [0.25] * len(completions)


def recipe(folder: Path, *rewards: str, **settings: Any) -> Path:
    """RLOO on the toy run's reward model, or on the named functions of this file."""
    named = [f"{__name__}:{name}" for name in rewards]
    return toy_run.write_online(folder, "rloo", {**RLOO, **settings}, named, audit=False)


def start(folder: Path) -> Path:
    return toy_run.copy(folder / "run", *toy_run.REWARDED)


def test_it_runs_and_charges_kl(tmp_path: Path) -> None:
    run = start(tmp_path)
    assert assent("run", recipe(tmp_path), "--out", run) == 0
    rows = read_metrics(run / "rloo")
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[-1]["episode"] == 3 * 16
    assert abs(rows[0]["objective/kl"]) < 1e-5 < abs(rows[-1]["objective/kl"])
    for row in rows:
        assert row["objective/non_score_reward"] == pytest.approx(-0.05 * row["objective/kl"], abs=1e-9)
    manifest = Store(run).manifest("rloo")
    assert manifest and manifest.headline["kl"] == round(rows[-1]["objective/kl"], 4)
    assert (run / "rloo/weights/model.safetensors").exists()


EVERYTHING = {"truncated": "mask", "overlong": 4, "resample": 2, "whiten": True, "epochs": 2, "minibatches": 2}


def test_with_every_option_stopped_by_hand_it_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, stopped = start(tmp_path / "a"), start(tmp_path / "b")
    path = recipe(tmp_path, "parity", **EVERYTHING)
    assert assent("run", path, "--out", straight) == 0
    with monkeypatch.context() as patch:
        at_step(Rloo, 0, lambda: signal.raise_signal(signal.SIGINT), patch)
        assert assent("run", path, "--out", stopped) == 130
    assert assent("run", path, "--out", stopped) == 0
    assert figures(stopped, "rloo") == figures(straight, "rloo")
    assert content(stopped, "rloo") == content(straight, "rloo")
    rows = read_metrics(straight / "rloo")
    assert sum(row["resample/prompts"] for row in rows) > 0, "nothing was replaced: the test shows nothing"


def test_a_constant_reward_ends_well_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    path = recipe(tmp_path, "always", kl={"coef": 0.0}, no_eos_penalty=0.0)
    assert assent("run", path, "--out", run) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the reward gives every answer the same score, 0.25; look at the reward") == 1
    assert [row["frac_reward_zero_std"] for row in read_metrics(run / "rloo")] == [1.0] * 3
    weights = [(run / step / "weights/model.safetensors").read_bytes() for step in ("sft", "rloo")]
    assert weights[0] == weights[1], "nothing was learned"


def test_where_no_answer_stops_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    path = recipe(tmp_path, "parity", truncated="mask", sampling={"max_tokens": 1})
    assert assent("run", path, "--out", run) == 0
    assert "no answer stops by itself" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"answers": 1}, "a group needs at least 2 answers"),
        ({"kl": {"place": "loss"}}, "unknown key `place`"),
        ({"scale": "none"}, "unknown key `scale`"),
    ],
)
def test_what_does_not_exist_is_refused(
    settings: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in toy_data.refused(capsys, "run", recipe(tmp_path, **settings))
