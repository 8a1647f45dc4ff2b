"""The loop on files instead of the lab: HH-RLHF's transcripts, TRL's shapes, a model from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from assent.artifacts.store import Store
from assent.cli import work
from assent.core.jsonl import read_records
from assent.core.records import Group, Judgment
from assent.models.load import load_tokenizer, save
from assent.train.tracking import read_metrics
from toy_data import refused, rows
from toy_run import assent

SHORT = [
    "sft.epochs=1", "sft.batch=8", "reward.epochs=1", "reward.batch=8", "reward.normalise_prompts=8",
    "reward.sampling.max_tokens=6", "ppo.iterations=2", "ppo.prompts=8", "ppo.sampling.max_tokens=6",
    "audit.sampling.max_tokens=6", "threads=1",
]  # fmt: skip
"""What makes `recipes/hh.yaml` small."""


def transcripts(n: int = 90) -> Iterator[dict[str, Any]]:
    """Multi-turn conversations as HH-RLHF has them; one in ten is longer than the model."""
    for i, prompt in enumerate(tiny.prompts(n, longest=5)):
        start = f"\n\nHuman: {prompt.text}\n\nAssistant: w3\n\nHuman: w1 w2\n\nAssistant: "
        chosen = " ".join(["w5"] * 80) if i % 10 == 0 else "w5 w6"
        yield {"chosen": start + chosen, "rejected": start + f"w{7 + i % 5} w7"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained checkpoint without a chat template, as stories260K is."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    save(folder, tiny.policy(dtype=torch.float32), tokenizer, "")
    return folder


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe for HH-RLHF, with other data and another model than it names."""
    folder = tmp_path_factory.mktemp("hh")
    data = rows(folder / "pairs.jsonl", *transcripts())
    command = ("run", work.builtin("hh"), f"data={data}", f"model={model}", *SHORT, "--out", folder / "run")
    assert assent(*command) == 0
    return folder / "run"


def headline(run: Path, step: str) -> dict[str, Any]:
    manifest = Store(run).manifest(step)
    assert manifest is not None
    return manifest.headline


def test_rows_that_do_not_fit_are_counted(run: Path) -> None:
    """9 of 90 conversations are too long, on whichever side of the split they fall."""
    held_out = headline(run, "collect")["held_out_prompts"]
    assert headline(run, "collect")["judgments"] == 90
    for step, learnt in (("sft", "demonstrations"), ("reward", "rankings")):
        found = headline(run, step)
        assert found[learnt] + found["dropped"] == 90 - held_out
        assert 0 < found["dropped"] <= 9


def test_judgments_say_that_nobody_knows_who_judged(run: Path) -> None:
    assert headline(run, "collect")["rater_kinds"] == ["unknown"]
    judgments = read_records(run / "collect" / "data" / "judgments.jsonl", Judgment)
    assert {j.rater for j in judgments} == {"unknown"}


def test_every_step_keeps_the_held_out_prompts_out(run: Path) -> None:
    kept = set(json.loads((run / "collect" / "data" / "split.json").read_text())["held_out"])
    asked = {g.prompt.id for g in read_records(run / "audit" / "data" / "answers-ppo.jsonl", Group)}
    assert asked and asked <= kept, "the audit asks held-out prompts"
    trained = {json.loads(line)["prompt_id"] for line in (run / "ppo" / "samples.jsonl").read_text().splitlines()}
    assert trained and not trained & kept


def test_without_gold_a_reward_model_judges_and_the_report_says_what_that_is_worth(run: Path) -> None:
    found = json.loads((run / "summary.json").read_text())
    assert list(found["models"]) == ["sft", "ppo"]
    assert {"reward", "win_rate_vs_sft", "kl_to_sft", "mean_length"} <= found["models"]["ppo"].keys()
    assert "gold" not in found["models"]["ppo"] and "refuses_harmful" not in found["models"]["ppo"]
    assert found["reward_model"]["n"] > 0
    assert "a win by it is no proof that people would agree" in (run / "report.html").read_text()
    assert "gold" not in read_metrics(run / "ppo")[-1]


def test_the_template_the_recipe_gave_is_saved_with_every_model(run: Path) -> None:
    for step in ("sft", "reward", "ppo"):
        tokenizer = load_tokenizer(run / step / "weights")
        turn = [{"role": "user", "content": "w1"}]
        assert tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True).endswith(
            "\n\nAssistant:"
        )


def test_the_data_is_part_of_what_a_step_is(run: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row changed in place gives another run: refused, naming --out."""
    data = run.parent / "pairs.jsonl"
    before = data.read_text()
    command = ("run", work.builtin("hh"), f"data={data}", f"model={model}", *SHORT, "--out", run)
    assert assent(*command) == 0
    assert "nothing to do" in capsys.readouterr().err
    data.write_text(before.replace("w5 w6", "w5 w8", 1))
    try:
        assert "made by another recipe, seed or input" in refused(capsys, *command)
    finally:
        data.write_text(before)


def test_show_names_the_files_and_the_model_it_came_from(
    run: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assent("show", run / "sft") == 0
    said = "".join(capsys.readouterr().out.split())
    sources = Store(run).manifest("sft").sources  # type: ignore[union-attr]
    assert sources.keys() == {str(model), str(run.parent / "pairs.jsonl"), "plain"}
    for source, digest in sources.items():
        assert f"from{source}({digest[:12]})" in said


def test_a_guideline_of_the_file_wins_over_the_recipes(tmp_path: Path) -> None:
    """The recipe's guideline is for judgments that name none."""
    group = tiny.group(tiny.prompts(1)[0], "w1", "w2")
    tiers = tuple((a.id,) for a in group.answers)
    given = [Judgment(id=str(g), group=group.id, rater="r", tiers=tiers, guideline=g) for g in ("v1", None)]
    rows(tmp_path / "j.jsonl", *(r.model_dump(mode="json") for r in (group, *given)))
    (tmp_path / "rules.md").write_text("be brief")
    text = "steps: {collect: {source: file, data: j.jsonl, guideline: rules.md}}\nthreads: 1\n"
    (tmp_path / "r.yaml").write_text(
        text.replace("j.jsonl", str(tmp_path / "j.jsonl")).replace("rules.md", str(tmp_path / "rules.md"))
    )
    assert assent("run", tmp_path / "r.yaml", "--out", tmp_path / "run") == 0
    kept = {
        j.id: j.guideline for j in read_records(tmp_path / "run" / "collect" / "data" / "judgments.jsonl", Judgment)
    }
    assert kept["v1"] == "v1" and kept["None"] and kept["None"] != "v1"


# The commands in front of it


def test_train_writes_a_recipe_and_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # threads of several tests at once slow each other down
    save(
        tmp_path / "model",
        tiny.policy(dtype=torch.float32, max_position_embeddings=256),
        tiny.tokenizer(),
        "",
    )
    data = rows(tmp_path / "pairs.jsonl", *transcripts(16))
    command = (
        "train",
        "--model",
        tmp_path / "model",
        "--pairs",
        data,
        "--method",
        "none",
        "--template",
        "plain",
    )
    assert assent(*command, "--out", tmp_path / "run") == 0
    assert headline(tmp_path / "run", "reward")["rankings"] > 8
    assert assent(*command, "--out", tmp_path / "run") == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_model_too_short_for_the_answers_it_is_asked_for(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows(tmp_path / "pairs.jsonl", *transcripts(30))
    command = ("run", work.builtin("hh"), f"data={data}", f"model={model}", *SHORT, "--out", tmp_path / "run")
    said = refused(capsys, *command, "reward.sampling.max_tokens=64", "--until", "reward")
    assert "reward.sampling.max_tokens" in said and "leaves room for an answer" in said


def test_demo_is_its_recipe_with_a_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(work, "_run", lambda *given: seen.append(given))
    assert assent("demo", "--seed", 3, "--out", tmp_path) == 0
    ((recipe, overrides, out, until),) = seen
    assert (recipe.name, overrides, out, until) == ("demo.yaml", ["seed=3"], tmp_path, None)
