"""The grpo step on a toy run: what it leaves, when a reference is loaded, what it refuses, how it resumes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import toy_data
import toy_run
from assent.artifacts.store import Store
from assent.methods.grpo import Grpo
from assent.train.tracking import read_metrics
from test_steps_stop import at_step, content, figures
from toy_run import assent

GRPO = {"iterations": 3, "prompts": 4, "answers": 4, "sampling": {"max_tokens": 8}}


def letters(completions, **_):
    return [float(len(c[0]["content"])) for c in completions]


def recipe(folder: Path, *rewards: str, **settings: Any) -> Path:
    """GRPO on the toy run's reward model, or on the named functions of this file."""
    named = [f"{__name__}:{name}" for name in rewards]
    return toy_run.write_online(folder, "grpo", {**GRPO, **settings}, named)


def start(folder: Path) -> Path:
    return toy_run.copy(folder / "run", *toy_run.REWARDED)


def test_it_runs_beside_the_others(tmp_path: Path) -> None:
    run = start(tmp_path)
    assert assent("run", recipe(tmp_path), "--out", run) == 0
    rows = read_metrics(run / "grpo")
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[-1]["episode"] == 3 * 16
    assert all(0 <= row["frac_reward_zero_std"] <= 1 and "gold" in row for row in rows)
    assert rows[0]["objective/scores"] == pytest.approx(rows[0]["rewards/reward/mean"], abs=1e-5)
    assert "objective/kl" not in rows[0], "without a KL term no reference is asked"
    manifest = Store(run).manifest("grpo")
    assert manifest and {"scores", "mean_length"} <= manifest.headline.keys() and "kl" not in manifest.headline


def test_with_a_kl_term_the_kl_is_logged(tmp_path: Path) -> None:
    run = start(tmp_path)
    path = recipe(tmp_path, "letters", kl={"coef": 0.1}, epochs=2, minibatches=2)
    assert assent("run", path, "--out", run, "--until", "grpo") == 0
    rows = read_metrics(run / "grpo")
    assert abs(rows[0]["objective/kl"]) < 1e-5 < abs(rows[-1]["objective/kl"])
    manifest = Store(run).manifest("grpo")
    assert manifest and manifest.headline["kl"] == round(rows[-1]["objective/kl"], 4)


def test_stopped_by_hand_it_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, stopped = start(tmp_path / "a"), start(tmp_path / "b")
    path = recipe(tmp_path)
    assert assent("run", path, "--out", straight, "--until", "grpo") == 0
    with monkeypatch.context() as patch:
        at_step(Grpo, 0, lambda: signal.raise_signal(signal.SIGINT), patch)
        assert assent("run", path, "--out", stopped, "--until", "grpo") == 130
    assert assent("run", path, "--out", stopped, "--until", "grpo") == 0
    assert figures(stopped, "grpo") == figures(straight, "grpo")
    assert content(stopped, "grpo") == content(straight, "grpo")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"answers": 1}, "a group needs at least 2 answers"),
        ({"prompts": 4, "minibatches": 3}, "multiple of minibatches"),
        ({"from": {"policy": "sft"}}, "a reward is needed"),
        ({"value": {"lr": 1e-3}}, "unknown key `value`"),
        ({"kl": {"place": "reward", "estimator": "k2"}}, "`estimator` is not read with `place: reward`"),
        ({"truncated": "mask", "no_eos_penalty": 2.0}, "`no_eos_penalty` is not read with `truncated: mask`"),
        ({"overlong": 9}, "overlong must not exceed sampling.max_tokens"),
        ({"scale": "batches"}, "scale"),
    ],
)
def test_what_contradicts_or_does_not_exist_is_refused(
    settings: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in toy_data.refused(capsys, "run", recipe(tmp_path, **settings))
