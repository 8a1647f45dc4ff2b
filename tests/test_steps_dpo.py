"""The dpo step on a toy run: what it leaves, what it measures, what it refuses, and how it resumes."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
import toy_data
import toy_run
from assent.artifacts.lineage import trace
from assent.artifacts.store import Store
from assent.config.steps import DpoConfig
from assent.core.errors import ConfigError, DataError
from assent.methods.dpo import Dpo
from assent.models.load import load_policy
from assent.steps.context import Context
from assent.steps.dpo import step
from assent.train.tracking import read_metrics
from test_steps_stop import at_step, content, figures
from toy_run import assent

DPO = {"from": {"policy": "sft", "judgments": "collect"}, "batch": 16, "sampling": {"max_tokens": 8}}


def recipe(folder: Path, **settings: Any) -> Path:
    """DPO from the toy run's SFT model on its rankings, then the table and a comparison."""
    steps = {k: v for k, v in toy_run.RECIPE["steps"].items() if k in ("pretrain", "sft", "collect")}
    steps["dpo"] = {**DPO, **settings}
    steps["audit"] = {**toy_run.RECIPE["steps"]["audit"], "from": {"sft": "sft", "dpo": "dpo"}}
    steps["compare"] = {**toy_run.RECIPE["steps"]["compare"], "from": {"a": "dpo", "b": "sft"}}
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    return path


def start(folder: Path) -> Path:
    return toy_run.copy(folder / "run", "pretrain", "sft", "collect")


def test_it_runs_beside_the_others_and_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    assert assent("run", recipe(tmp_path), "--out", run) == 0
    manifest = Store(run).manifest("dpo")
    assert manifest is not None
    found = manifest.headline
    assert found["steps"] == math.ceil(found["rankings"] / 16) and found["dropped"] == 0
    assert 0 <= found["accuracy"] <= 1 and found["n"] > 0
    assert found["accuracy_interval"][0] <= found["accuracy"] <= found["accuracy_interval"][1]
    first = read_metrics(run / "dpo")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5) and first["logps/chosen"] < 0
    shown = [json.loads(line) for line in (run / "dpo" / "samples.jsonl").read_text().splitlines()]
    kept = set(json.loads((run / "collect" / "data" / "split.json").read_text())["held_out"])
    assert shown and {row["prompt_id"] for row in shown} <= kept, "samples show prompts it was not trained on"
    assert list(json.loads((run / "summary.json").read_text())["models"]) == ["sft", "dpo"]
    assert {"sft", "collect"} <= {p.step for group in trace(Store(run), "dpo").parents.values() for p in group}
    before, after = (load_policy(run / step / "weights").state_dict() for step in ("sft", "dpo"))
    assert any(not before[name].equal(after[name]) for name in before)
    assert assent("run", tmp_path / "r.yaml", "--out", run) == 0
    assert "dpo: done before" in capsys.readouterr().err


def test_stopped_by_hand_it_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is asked again on the way back, from the same start, though the checkpoint has moved on."""
    straight, stopped = start(tmp_path / "a"), start(tmp_path / "b")
    path = recipe(tmp_path, epochs=2)
    assert assent("run", path, "--out", straight, "--until", "dpo") == 0
    with monkeypatch.context() as patch:
        at_step(Dpo, 2, lambda: signal.raise_signal(signal.SIGINT), patch)
        assert assent("run", path, "--out", stopped, "--until", "dpo") == 130
    assert assent("run", path, "--out", stopped, "--until", "dpo") == 0
    assert figures(stopped, "dpo") == figures(straight, "dpo")
    assert content(stopped, "dpo") == content(straight, "dpo")
    one, other = (Store(run).manifest("dpo") for run in (straight, stopped))
    assert one and other and one.headline == other.headline


def test_from_a_model_folder_and_pairs_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No SFT step, margins that are said to be unused, `w2 w3` always better: preferred on what was not seen."""
    asked = tiny.prompts(80)
    answers = {"chosen": " w2 w3", "rejected": " w4 w5", "margin": 0.5}
    pairs = toy_data.rows(tmp_path / "pairs.jsonl", *({"prompt": p.text, **answers} for p in asked))
    model = {"model": str(toy_data.model_folder()), "template": "plain"}
    dpo = {"from": {"judgments": "collect"}, **model, "epochs": 6, "batch": 8, "optimiser": {"lr": 3e-3}}
    path = toy_data.recipe(tmp_path, collect={"source": "file", "data": str(pairs)}, dpo=dpo)
    path.write_text(path.read_text().replace("held_out: 0.0", "held_out: 0.3"))
    assert assent("run", path, "--out", tmp_path / "run") == 0
    assert "margins, which DPO does not use" in " ".join(capsys.readouterr().err.split())
    manifest = Store(tmp_path / "run").manifest("dpo")
    assert manifest and manifest.headline["accuracy"] == 1.0 and manifest.headline["n"] > 10
    assert str(toy_data.model_folder()) in manifest.sources


def test_preferences_between_equal_answers_are_no_preferences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [{"prompt": f"w{i} w1", "chosen": " w2", "rejected": " w2"} for i in range(6)]
    pairs = toy_data.rows(tmp_path / "pairs.jsonl", *same)
    dpo = {"from": {"judgments": "collect"}, "model": str(toy_data.model_folder()), "template": "plain"}
    path = toy_data.recipe(tmp_path, collect={"source": "file", "data": str(pairs)}, dpo=dpo)
    said = toy_data.refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "no training pair is left: in all 6 rankings the answers are identical" in " ".join(said.split())
    assert not (tmp_path / "run" / "dpo" / "manifest.json").exists()


@pytest.mark.parametrize("given", [{"from": {"judgments": "collect"}}, {"model": "owner/model"}])
def test_none_or_two_starts_are_refused(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give exactly one start" in toy_data.refused(capsys, "run", recipe(tmp_path, **given))


def test_rows_that_do_not_fit_are_counted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    lengths = {"max_length": 22, "log_every": 5}
    said = toy_data.refused(capsys, "run", recipe(tmp_path, limits=lengths), "--out", run, "--until", "dpo")
    assert "too_long: drop" in said
    (tmp_path / "b").mkdir()
    path = recipe(tmp_path / "b", limits={**lengths, "too_long": "drop"})
    assert assent("run", path, "--out", start(tmp_path / "b"), "--until", "dpo") == 0
    manifest = Store(tmp_path / "b" / "run").manifest("dpo")
    assert manifest and manifest.headline["dropped"] > 0 and manifest.headline["held_out_dropped"] > 0


def test_without_held_out_pairs_nothing_is_claimed(tmp_path: Path) -> None:
    pairs = toy_data.rows(tmp_path / "pairs.jsonl", *toy_data.PAIRS)
    dpo = {"from": {"judgments": "collect"}, "model": str(toy_data.model_folder()), "template": "plain"}
    path = toy_data.recipe(tmp_path, collect={"source": "file", "data": str(pairs)}, dpo=dpo)
    assert assent("run", path, "--out", tmp_path / "run") == 0
    manifest = Store(tmp_path / "run").manifest("dpo")
    assert manifest and manifest.headline["accuracy"] is None and manifest.headline["n"] == 0
    model = load_policy(tmp_path / "run" / "dpo" / "weights")
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("loss", ["cdpo", "robust", "ipo", "hinge", "simpo", "kto"])
def test_every_member_of_the_family_runs(loss: str, tmp_path: Path) -> None:
    """Best against worst of four answers: two rows a group, one pair."""
    run = start(tmp_path)
    path = recipe(tmp_path, loss=loss, pairs="ends", adapter={"rank": 2}, optimiser={"lr": 1e-2})
    assert assent("run", path, "--out", run, "--until", "dpo") == 0
    manifest = Store(run).manifest("dpo")
    assert manifest and 0 <= manifest.headline["accuracy"] <= 1 and manifest.headline["n"] > 0
    last = read_metrics(run / "dpo")[-1]
    assert last["logps/chosen"] < 0 and last["logps/rejected"] < 0 and ("kl" in last) == (loss == "kto")


def rewritten(run: Path, name: str, change: Any) -> None:
    """Change each row of a file that the collect step left, as another tool's judgments would be; and its hash."""
    path = run / "collect" / "data" / name
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j: j | {"tiers": [[a for tier in j["tiers"] for a in tier]]}, "rankings are ties"),
        (lambda j: j | {"tiers": [[*j["tiers"][0], "nobody"], *j["tiers"][1:]]}, "answer nobody is not in group"),
        (lambda j: j | {"group": "elsewhere"}, "names no known group"),
        (lambda j: j | {"outcome": "skip", "tiers": []}, "no judgment of a training prompt is a ranking"),
    ],
)
def test_judgments_that_teach_nothing_or_do_not_fit(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        taught(start(tmp_path), change)


def test_soft_labels_out_of_range_and_raters_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="from 0 to 1"):
        taught(start(tmp_path / "a"), lambda j: j | {"probs": {a: 1.5 for t in j["tiers"] for a in t}}, soft=True)
    with pytest.raises(ConfigError, match="`nobody` is no rater"):
        taught(start(tmp_path / "b"), lambda j: j, weights={"nobody": 2.0})
    with pytest.raises(DataError, match="of weight 0"):
        taught(start(tmp_path / "c"), lambda j: j, weights={"kind:simulated": 0.0})


def taught(run: Path, change: Any, **labels: Any) -> None:
    """Run the step by itself on the toy run's judgments, changed."""
    rewritten(run, "judgments.jsonl", change)
    config = DpoConfig.model_validate({**DPO, "labels": labels})
    inputs = {"policy": [run / "sft"], "judgments": [run / "collect"]}
    (run / "dpo").mkdir(exist_ok=True)
    step(Context("dpo", config, 0, run / "dpo", inputs, 0.2, 0), config)
