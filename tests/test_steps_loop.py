"""The whole loop at toy size: what it leaves, that it is not run twice, and that nothing is overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import toy_run
from assent.artifacts.store import Store
from assent.core.jsonl import read_records
from assent.core.records import Group, Judgment, Rater, check_tiers
from assent.lab.world import held_out
from assent.models.load import load_reward_model, load_tokenizer
from assent.rewards.model import ModelReward
from assent.train.tracking import read_metrics
from toy_run import assent

STEPS = list(toy_run.RECIPE["steps"])
TRAINED = ("pretrain", "sft", "reward", "ppo")


@pytest.fixture(scope="module")
def run() -> Path:
    return toy_run.finished()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


# What a run leaves


def test_every_step_has_its_manifest_and_no_checkpoint(run: Path) -> None:
    store = Store(run)
    for step in STEPS:
        manifest = store.manifest(step)
        assert manifest and manifest.kind == step and manifest.seconds > 0
        store.verify(step)
    assert not list(run.glob("*/checkpoint*")), "a finished step needs none"
    assert not list(run.rglob("*.tmp"))
    ppo = store.manifest("ppo")
    assert ppo and ppo.environment["threads"] == 1
    assert {name: [p.step for p in group] for name, group in ppo.parents.items()} == {
        "policy": ["sft"],
        "reward": ["reward"],
    }


def test_summary_has_the_promised_shape_and_every_figure_its_n(run: Path) -> None:
    found = json.loads((run / "summary.json").read_text())
    assert found["seconds"].keys() == set(STEPS)
    assert found["total_seconds"] == pytest.approx(sum(found["seconds"].values()), abs=1e-2)
    assert list(found["models"]) == ["base", "sft", "ppo"]
    for name, model in found["models"].items():
        assert {"gold", "win_rate_vs_sft", "win_rate_interval", "kl_to_sft", "mean_length"} <= model.keys()
        figures = {key for key in model if key != "n" and not key.endswith("_interval")}
        assert figures == model["n"].keys()
        for figure in figures:
            low_high = model["win_rate_interval" if figure.startswith("win_rate") else f"{figure}_interval"]
            assert (model[figure] is None) == (low_high is None) == (model["n"][figure] == 0)
            if low_high:
                assert low_high[0] <= model[figure] <= low_high[1], (name, figure)
    assert found["models"]["sft"]["win_rate_vs_sft"] is None, "no model is compared with itself"
    assert found["models"]["sft"]["kl_to_sft"] == 0
    reward = found["reward_model"]
    assert {"accuracy", "accuracy_floor", "floor_difference_interval", "n"} <= reward.keys()
    assert 0 <= reward["accuracy"] <= 1 and reward["n"] > 0


def test_summary_agrees_with_what_the_steps_measured(run: Path) -> None:
    """The figures a reader quotes are those of the audit's own files, worked out again from the answers."""
    found = json.loads((run / "summary.json").read_text())["models"]["ppo"]
    worth = json.loads((run / "audit/data/worth-ppo.json").read_text())
    against = json.loads((run / "audit/data/worth-sft.json").read_text())
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(worth, against, strict=True)]
    assert found["gold"] == pytest.approx(sum(worth) / len(worth))
    assert found["win_rate_vs_sft"] == pytest.approx(sum(wins) / len(wins))
    groups = read_records(run / "audit/data/answers-ppo.jsonl", Group)
    lengths = [len(a.token_ids or ()) for g in groups for a in g.answers]
    assert found["mean_length"] == pytest.approx(sum(lengths) / len(lengths))
    assert found["n"]["gold"] == len({g.prompt.subject for g in groups})
    assert all(held_out(g.prompt.subject) for g in groups), "measured on subjects nobody trained on"


def test_report_is_one_self_contained_file(run: Path) -> None:
    page = (run / "report.html").read_text()
    loaded = re.findall(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]+)""", page)
    assert not [link for link in loaded if not link.startswith(("#", "data:"))]
    assert not re.findall(r"url\((?!#)|@import|<iframe|<link|fetch\(|XMLHttpRequest", page)
    urls = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert all(url.startswith("http://www.w3.org/") for url in urls), "only the names of SVG"
    assert all(step in page for step in STEPS)


def test_metrics_are_json_lines_with_a_step_each(run: Path) -> None:
    for step in TRAINED:
        lines = (run / step / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]  # NaN is no JSON
        assert [r["step"] for r in rows] == sorted({r["step"] for r in rows})
        assert list((run / step / "tensorboard").iterdir())
    last = read_metrics(run / "ppo")[-1]
    assert {
        "objective/kl",
        "objective/scores",
        "objective/entropy",
        "gold",
        "rewards/reward/mean",
    } <= last.keys()
    samples = [json.loads(line) for line in (run / "ppo" / "samples.jsonl").read_text().splitlines()]
    assert {s["step"] for s in samples} == {0, 1}
    assert {"prompt", "answer", "score"} <= samples[0].keys()


def test_every_logged_step_shows_answers_while_imitating_and_judging(run: Path) -> None:
    for step in ("sft", "reward"):
        rows = [json.loads(line) for line in (run / step / "samples.jsonl").read_text().splitlines()]
        assert {row["step"] for row in rows} == {row["step"] for row in read_metrics(run / step)}
        first = [row for row in rows if row["step"] == 0]
        later = [row for row in rows if row["step"] == rows[-1]["step"]]
        assert [row["prompt_id"] for row in first] == [row["prompt_id"] for row in later]  # comparable over time
        assert ("score" in rows[0]) == (step == "reward")


def test_judgments_fit_their_groups_and_held_out_subjects_stay_held_out(run: Path) -> None:
    data = run / "collect" / "data"
    groups = {g.id: g for g in read_records(data / "groups.jsonl", Group)}
    judgments = read_records(data / "judgments.jsonl", Judgment)
    raters = {r.id for r in read_records(data / "raters.jsonl", Rater)}
    assert all(check_tiers(j, groups[j.group]) is None and j.rater in raters for j in judgments)
    split = set(json.loads((data / "split.json").read_text())["held_out"])
    for group in groups.values():
        assert (group.prompt.id in split) == held_out(group.prompt.subject)


# What it makes is Hugging Face's


@pytest.mark.parametrize("step", ["pretrain", "sft", "ppo"])
def test_a_policy_loads_with_plain_transformers(run: Path, step: str) -> None:
    folder = run / step / "weights"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    turn = [{"role": "user", "content": "what is 1 plus 1 ?"}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert out.shape[1] > ids["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id, "generate() knows where to stop"
    text = tokenizer.apply_chat_template([*turn, {"role": "assistant", "content": "2"}], tokenize=False)
    assert text.endswith(tokenizer.eos_token)
    assert not [p for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pkl")]
    assert (folder / "README.md").read_text().startswith("---")


def test_a_reward_model_loads_with_plain_transformers_and_scores_the_same(run: Path) -> None:
    """One label; with the shift in config.json, transformers' own forward pass gives our score."""
    folder = run / "reward" / "weights"
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    assert model.config.num_labels == 1
    group = read_records(run / "collect" / "data" / "groups.jsonl", Group)[0]
    ours = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score([group])[0]
    for answer, score in zip(group.answers, ours, strict=True):
        turns = [m.model_dump() for m in group.prompt.messages]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            logit = model(input_ids=torch.tensor([[*prompt, *(answer.token_ids or ())]])).logits[0, 0]
        assert float(logit) + model.config.reward_shift == pytest.approx(score, abs=1e-4)


def test_scores_of_the_policy_it_was_normalised_on_are_near_zero_and_one(run: Path) -> None:
    groups = read_records(run / "collect" / "data" / "groups.jsonl", Group)
    folder = run / "reward" / "weights"
    rows = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score(groups)
    scores = torch.tensor([v for row in rows for v in row])
    assert abs(float(scores.mean())) < 1 and 0.3 < float(scores.std()) < 3


# Running it again


def test_a_second_run_does_nothing_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {k: v for k, v in snapshot(run).items() if not k.endswith((".lock", "report.html", "summary.json"))}
    page = (run / "report.html").read_bytes()
    assert assent("run", toy_run.recipe(), "--out", run) == 0
    said = capsys.readouterr().err
    assert "nothing to do" in said
    assert all(f"{step}: done before" in said for step in STEPS)
    after = {k: v for k, v in snapshot(run).items() if not k.endswith((".lock", "report.html", "summary.json"))}
    assert after == before
    assert (run / "report.html").read_bytes() == page


def test_the_same_recipe_gives_the_same_bits(run: Path, tmp_path: Path) -> None:
    """PPO again in another folder, from copies of what it reads."""
    toy_run.copy(tmp_path / "again", "pretrain", "sft", "collect", "reward")
    assert assent("run", toy_run.recipe(), "--out", tmp_path / "again", "--until", "ppo") == 0
    first, second = Store(run).manifest("ppo"), Store(tmp_path / "again").manifest("ppo")
    assert first and second and (first.content, first.key) == (second.content, second.key)
    clock = {"seconds"}
    rows = [[{k: v for k, v in row.items() if k not in clock} for row in read_metrics(r / "ppo")]
            for r in (run, tmp_path / "again")]  # fmt: skip
    assert rows[0] == rows[1]


def test_a_changed_recipe_is_refused_and_nothing_is_touched(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_run.copy(tmp_path, "pretrain", "sft")
    before = snapshot(tmp_path)
    assert assent("run", toy_run.recipe(), "sft.epochs=3", "--out", tmp_path, "--until", "sft") == 2
    said = capsys.readouterr().err
    assert "step `sft` was made by another recipe" in said and "--out" in said and "Traceback" not in said
    assert {k: v for k, v in snapshot(tmp_path).items() if k != ".lock"} == before
    assert assent("run", toy_run.recipe(), "seed=1", "--out", tmp_path, "--until", "pretrain") == 2


def test_a_change_above_reaches_what_stands_below(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The audit's own settings are the same, but one of its models is not: it must not be taken for done."""
    toy_run.copy(tmp_path, "pretrain", "sft", "collect", "reward", "audit")
    overrides = ["ppo.iterations=1", "ppo.optimiser.lr=0.01"]
    assert assent("run", toy_run.recipe(), *overrides, "--out", tmp_path, "--until", "ppo") == 0
    assert assent("run", toy_run.recipe(), *overrides, "--out", tmp_path, "--until", "audit") == 2
    assert "step `audit` was made by another" in capsys.readouterr().err


def test_until_runs_what_a_step_needs_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_run.copy(tmp_path, "pretrain")
    assert assent("run", toy_run.recipe(), "--out", tmp_path, "--until", "sft") == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["pretrain", "sft"]
    assert json.loads((tmp_path / "summary.json").read_text())["models"] == {}
    assert assent("run", toy_run.recipe(), "--out", tmp_path, "--until", "stf") == 2
    assert "no step `stf`; did you mean `sft`?" in capsys.readouterr().err


def test_a_damaged_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_run.copy(tmp_path, "pretrain", "sft")
    weights = tmp_path / "pretrain" / "weights" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # one bit
    weights.write_bytes(data)
    assert assent("run", toy_run.recipe(), "--out", tmp_path, "--until", "sft") == 2
    said = capsys.readouterr().err
    assert str(weights) in said and "changed since the step finished" in said


def test_a_run_that_another_process_works_in_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path / "run").lock():
        assert assent("run", toy_run.recipe(), "--out", tmp_path / "run") == 2
    assert "another process is working in this run" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]


# Looking at it


def test_show_goes_down_to_judgments_and_raters(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("show", run) == 0
    said = " ".join(re.sub(r"[│├└─]", " ", capsys.readouterr().out).split())
    made = ("ppo (ppo)", "reward (reward)", "collect (collect)", "sft (sft)", "pretrain (pretrain)")
    for expected in (*made, "judgments 72", "raters 20", "rater kinds simulated", "guidelines none named"):
        assert expected in said, expected
    assert "gold score" in said


def test_show_one_step_and_a_broken_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_run.copy(tmp_path, "pretrain", "sft")
    manifest = tmp_path / "pretrain" / "manifest.json"
    changed = json.loads(manifest.read_text()) | {"content": "0" * 32}
    manifest.write_text(json.dumps(changed))
    assert assent("show", tmp_path / "sft") == 0
    assert "made again since" in " ".join(capsys.readouterr().out.split())


def test_show_of_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("show", tmp_path / "none") == 2
    assert "no such run" in capsys.readouterr().err
    assert assent("show", tmp_path) == 2
    assert "holds no finished step" in capsys.readouterr().err


def test_guideline_version_reaches_the_lineage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hash of the guideline's file stands on every judgment, in the headline and in `show`."""
    toy_run.copy(tmp_path, "pretrain", "sft")
    guideline = tmp_path / "rules.md"
    guideline.write_text("be brief")
    recipe = toy_run.write_recipe(tmp_path / "r.yaml", collect={"guideline": str(guideline), "prompts": 8})
    assert assent("run", recipe, "--out", tmp_path, "--until", "collect") == 0
    judgments = read_records(tmp_path / "collect" / "data" / "judgments.jsonl", Judgment)
    (version,) = {j.guideline for j in judgments}
    assert version and len(version) == 12
    assert assent("show", tmp_path / "collect") == 0
    assert f"guidelines {version}" in " ".join(capsys.readouterr().out.split())
    guideline.write_text("be warm")
    assert assent("run", recipe, "--out", tmp_path, "--until", "collect") == 2, "another guideline is another input"


def test_sweep_keeps_each_value_in_a_folder_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {
        "name": "s",
        "threads": 1,
        "steps": {"pretrain": toy_run.RECIPE["steps"]["pretrain"]},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(settings))
    assert assent("sweep", tmp_path / "s.yaml", "pretrain.steps=1,2", "--out", tmp_path / "out") == 0
    folders = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert folders == ["pretrain.steps=1", "pretrain.steps=2"]
    steps = [Store(tmp_path / "out" / f).manifest("pretrain").headline["steps"] for f in folders]  # type: ignore[union-attr]
    assert steps == [1, 2]
    assert assent("sweep", tmp_path / "s.yaml", "pretrain.steps", "--out", tmp_path / "out") == 2
    assert "is no sweep" in capsys.readouterr().err
    assert assent("sweep", tmp_path / "s.yaml", "pretrain.steps=1,many", "--out", tmp_path / "other") == 2
    assert not (tmp_path / "other").exists()  # the bad value is found before the good one runs


def test_sweep_takes_lists_and_paths_as_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Path]] = []
    monkeypatch.setattr("assent.cli.work._run", lambda _, overrides, out, __: asked.append((overrides, out)))
    (tmp_path / "s.yaml").write_text("steps: {sft: {model: a/b, adapter: {}}}")
    assert assent("sweep", tmp_path / "s.yaml", "sft.adapter.targets=[q_proj,v_proj],[]", "--out", tmp_path) == 0
    assert assent("sweep", tmp_path / "s.yaml", "sft.data=../../d.jsonl,e.jsonl", "--out", tmp_path) == 0
    assert [overrides for overrides, _ in asked] == [
        ["sft.adapter.targets=[q_proj,v_proj]"],
        ["sft.adapter.targets=[]"],
        ["sft.data=../../d.jsonl"],
        ["sft.data=e.jsonl"],
    ]
    assert {out.parent for _, out in asked} == {tmp_path}, "no value leaves the sweep's folder"
