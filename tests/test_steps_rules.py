"""Rules in a run: every curve, the audit by a rule, prompts no rule can score, the recipes for checkable tasks."""

from __future__ import annotations

import gzip
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import toy_run
from assent.artifacts.store import Store
from assent.cli import work
from assent.core.hashing import is_held_out
from assent.core.jsonl import read_records
from assent.core.records import Group
from assent.train.tracking import read_metrics
from toy_data import model_folder, recipe, refused, rows
from toy_run import assent

SHARED = Path(os.environ.get("ASSENT_TEST_DATA", "../shared"))
STORIES, GSM8K = SHARED / "models/stories260K", SHARED / "data/gsm8k/train.jsonl.gz"

PROMPTS = [{"prompt": [{"role": "user", "content": f"w{i} w{i + 1}"}], "answer": str(i)} for i in range(12)]
EXACT: list[dict[str, Any]] = [{"exact": {}}]


def grpo(folder: Path, *given: Any, rewards: list[dict[str, Any]] = EXACT, **settings: Any) -> Path:
    """SFT for one step, then GRPO on the given prompts."""
    data = rows(folder / "p.jsonl", *given)
    shown = rows(
        folder / "d.jsonl", *({**row, "completion": [{"role": "assistant", "content": "w1"}]} for row in PROMPTS)
    )
    return recipe(
        folder,
        sft={"model": str(model_folder()), "data": str(shown), "epochs": 1, "batch": 12, "sampling": {"max_tokens": 4}},
        grpo={
            "from": {"policy": "sft"}, "data": str(data), "rewards": rewards, "iterations": 2, "prompts": 6,
            "answers": 3, "sampling": {"max_tokens": 6}, **settings,
        },
    )  # fmt: skip


def test_each_rule_has_its_curve_and_the_score_is_their_weighted_sum(tmp_path: Path) -> None:
    """The tiny model's words hold numbers (`w7`), so the last word's number is its result."""
    rewards: list[dict[str, Any]] = [
        {"exact": {}},
        {"length": {"target": 3}, "weight": 0.25},
        {"length": {"target": 6}, "weight": 0.5},
        {"repetition": {"words": 1}, "weight": 2.0},
        {"regex": {"pattern": "^w"}, "weight": -1.0},
        {"json_value": {}, "weight": 3.0},
    ]
    run = tmp_path / "run"
    assert assent("run", grpo(tmp_path, *PROMPTS, rewards=rewards, no_eos_penalty=0.0), "--out", run) == 0
    weights = {"exact": 1, "length": 0.25, "length-2": 0.5, "repetition": 2, "regex": -1, "json_value": 3}
    for row in read_metrics(run / "grpo"):
        means = {name: row[f"rewards/{name}/mean"] for name in weights}
        assert row["objective/scores"] == pytest.approx(sum(weights[n] * means[n] for n in weights), abs=1e-5)
        assert means["length"] != means["length-2"] < 0 and means["json_value"] == 0 < means["regex"]
        assert row["rewards/missing"] == 0


def test_prompts_without_the_tag_are_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = [{"prompt": row["prompt"], "solution": row["answer"]} for row in PROMPTS]
    said = refused(capsys, "run", grpo(tmp_path, *asked), "--out", tmp_path / "run")
    assert f"grpo.data: {tmp_path / 'p.jsonl'}: no prompt has the tag `answer`" in said
    assert "`exact: {tag: NAME}` names another; these prompts have: solution" in said
    assert not (tmp_path / "run").exists()
    assert assent("run", grpo(tmp_path, *asked, rewards=[{"exact": {"tag": "solution"}}]), "--out", tmp_path / "b") == 0


def test_the_labs_prompts_are_checked_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = toy_run.write_recipe(tmp_path / "r.yaml", ppo={"rewards": [{"exact": {"tag": "truht"}}]})
    run = toy_run.copy(tmp_path / "run", "pretrain", "sft", "collect", "reward")
    said = refused(capsys, "run", path, "--out", run)
    assert "lab: no prompt has the tag `truht`" in said and "truth" in said


def test_some_without_the_tag_count_as_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = [row if i % 2 else {"prompt": row["prompt"]} for i, row in enumerate(PROMPTS)]
    run = tmp_path / "run"
    assert assent("run", grpo(tmp_path, *asked), "--out", run) == 0
    assert "6 of 12 prompts lack the tag of an `exact` reward" in capsys.readouterr().err
    found = read_metrics(run / "grpo")
    assert sum(row["rewards/missing"] for row in found) / len(found) == pytest.approx(0.5), "every prompt once"


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ({"regex": {"pattern": "("}}, "grpo.rewards.0.regex.pattern: no regular expression"),
        ({"exact": {"tga": "x"}}, "unknown key `tga`"),
        ({"exact": {}, "regex": {"pattern": "a"}}, "exactly one of"),
    ],
)
def test_a_rule_with_a_typo(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, reward: dict[str, Any], said: str
) -> None:
    assert said in refused(capsys, "run", grpo(tmp_path, *PROMPTS, rewards=[reward]), "--out", tmp_path / "run")


# The recipes

TINY = [
    "pretrain.documents=200", "pretrain.steps=20", "pretrain.row_tokens=32", "sft.demonstrations=64", "sft.epochs=1",
    "grpo.iterations=2", "grpo.prompts=8", "grpo.answers=4", "grpo.sampling.max_tokens=8", "audit.prompts=30",
    "audit.sampling.max_tokens=8",
    "pretrain.model={hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, "
    "num_key_value_heads: 2}",
]  # fmt: skip


def test_the_recipe_for_arithmetic_keeps_held_out_sums_out_and_counts_right(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert assent("run", work.builtin("arithmetic"), *TINY, "--out", run) == 0
    row = read_metrics(run / "grpo")[-1]
    assert row["objective/scores"] == pytest.approx(row["rewards/exact/mean"], abs=1e-6) and "gold" not in row
    asked = [json.loads(line) for line in (run / "grpo/samples.jsonl").read_text().splitlines()]
    answered = read_records(run / "audit/data/answers-grpo.jsonl", Group)
    held = {g.prompt.id for g in answered}
    assert len(held) == 30 and all(is_held_out(g.prompt.subject, 0.3) for g in answered)
    assert asked and not held & {sample["prompt_id"] for sample in asked}
    right = [
        [word for word in a.text.split() if word.isdigit()][-1:] == [g.prompt.tags["answer"]]
        for g in answered
        for a in g.answers
    ]
    found = json.loads((run / "summary.json").read_text())["models"]["grpo"]
    assert found["reward"] == pytest.approx(sum(right) / len(right))


@pytest.mark.skipif(not (STORIES.exists() and GSM8K.exists()), reason=f"{SHARED} lacks them: set ASSENT_TEST_DATA")
def test_the_recipe_for_gsm8k_runs_on_the_real_file(tmp_path: Path) -> None:
    """One iteration of a model far too small to solve anything: what is shown is that the data goes all the way."""
    with gzip.open(GSM8K, "rt", encoding="utf-8") as file:
        data = rows(tmp_path / "gsm8k.jsonl", *islice(file, 48))
    run = tmp_path / "run"
    small = [
        f"data={data}", f"model={STORIES}", "threads=1", "held_out=0.3", "sft.template=plain", "sft.batch=8",
        "grpo.iterations=1", "grpo.prompts=2", "grpo.answers=2", "audit.prompts=10",
        *(f"{step}.sampling.max_tokens=12" for step in ("sft", "grpo", "audit")),
        *(f"{step}.limits.too_long=drop" for step in ("sft", "grpo")),
    ]  # fmt: skip
    assert assent("run", work.builtin("gsm8k"), *small, "--out", run) == 0
    trained = Store(run).manifest("sft")
    assert trained and trained.headline["demonstrations"] > 5
    (row,) = read_metrics(run / "grpo")
    assert {"rewards/exact/mean", "rewards/regex/mean"} <= row.keys() and row["rewards/missing"] == 0
    answered = read_records(run / "audit/data/answers-grpo.jsonl", Group)
    assert answered and all(float(g.prompt.tags["answer"].replace(",", "")) is not None for g in answered)
    assert "reward" in json.loads((run / "summary.json").read_text())["models"]["grpo"]
