"""Best-of-n on a toy run: what it picks, what it measures, what learns from it, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
import toy_run
from assent.artifacts.store import Store
from assent.config.recipe import load, parse
from assent.core.errors import ConfigError
from assent.core.jsonl import read_records, write_records
from assent.core.records import Demonstration, Group, Prompt
from assent.lab.gold import Gold
from assent.lab.prompts import mix
from assent.lab.world import build, held_out
from assent.models.load import load_reward_model, load_tokenizer
from assent.rewards.model import ModelReward
from assent.steps.best_of import best, demonstrations
from assent.train.tracking import read_metrics
from test_stats_best_of import enumerated
from toy_run import assent

SHORT = {"sampling": {"max_tokens": 16}}
STEPS: dict[str, Any] = {
    **{name: toy_run.RECIPE["steps"][name] for name in ("pretrain", "sft", "collect", "reward")},
    "best_of": {
        "from": {"policy": "sft", "reward": "reward"},
        "prompts": 60,
        "held_out_prompts": 30,
        "answers": 4,
        **SHORT,
    },
    "raft": {"kind": "sft", "from": {"model": "sft", "demonstrations": "best_of"}, "epochs": 1, "batch": 8},
    "audit": {"from": {"sft": "sft", "raft": "raft", "reward": "reward"}, "best_of": 3, "prompts": 40, **SHORT},
}


def alike(completions, **_):
    return [1.0] * len(completions)


def unknown(completions, **_):
    return [None] * len(completions)


def recipe(folder: Path, **steps: dict[str, Any]) -> Path:
    """The recipe as a file, with settings of its steps replaced."""
    merged = {name: {**settings, **steps.get(name, {})} for name, settings in STEPS.items()}
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": merged}, sort_keys=False))
    return path


def start(folder: Path) -> Path:
    return toy_run.copy(folder / "run", "pretrain", "sft", "collect", "reward")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best-of")
    assert assent("run", recipe(folder), "--out", start(folder)) == 0
    return folder / "run"


def headline(run: Path, step: str) -> dict[str, Any]:
    manifest = Store(run).manifest(step)
    assert manifest
    return manifest.headline


def read(run: Path, step: str, file: str) -> Any:
    return json.loads((run / step / "data" / file).read_text())


# What is picked


def test_demonstrations_are_answers_to_training_prompts_that_end(run: Path) -> None:
    found = read_records(run / "best_of/data/demonstrations.jsonl", Demonstration)
    told = headline(run, "best_of")
    assert 5 < len(found) == told["demonstrations"] and len(found) + told["alike"] + told["missing"] == 60
    assert all(d.answer.finish == "stop" and d.author == d.answer.source == "sft" for d in found)
    assert not any(held_out(d.prompt.subject) for d in found)
    assert all(held_out(g.prompt.subject) for g in read_records(run / "best_of/data/groups.jsonl", Group))


def answered(*texts: str, cut: tuple[int, ...] = ()) -> Group:
    group = tiny.group(Prompt.ask("w1 w2"), *texts)
    answers = tuple(a.model_copy(update={"finish": "length"}) if i in cut else a for i, a in enumerate(group.answers))
    return Group(prompt=group.prompt, answers=answers)


@pytest.mark.parametrize(
    ("group", "scores", "picked"),
    [
        (answered("a", "b", "c"), [1.0, 3.0, 2.0], "b"),
        (answered("a", "b", "c", cut=(1,)), [1.0, 3.0, 2.0], "c"),  # the best never stops
        (answered("a", "b", "c"), [None, 1.0, 2.0], "c"),
        (answered("a", "b", "c"), [2.0, 1.0, 2.0], "a"),  # the first of two that are best
        (answered("a", "b"), [2.0, 2.0], "alike"),
        (answered("a", "a"), [2.0, 2.0000001], "alike"),  # the same text twice, scored in two batches
        (answered("a", "b", "c", cut=(2,)), [2.0, 2.0, 9.0], "alike"),  # alike but for one that never stops
        (answered("a", "b"), [None, 2.0], "missing"),
        (answered("a", "b", cut=(0, 1)), [1.0, 2.0], "missing"),
    ],
)
def test_which_answer_becomes_a_demonstration(group: Group, scores: list[float | None], picked: str) -> None:
    found, left_out = demonstrations([group], [scores])
    assert [d.answer.text for d in found] == ([picked] if picked in "abc" else [])
    assert dict(left_out) == ({} if picked in "abc" else {picked: 1})


def test_the_best_to_show_is_one_that_ends_where_there_is_one() -> None:
    group = answered("a", "b", "c", cut=(1,))
    assert [best(group, s) for s in ([1.0, 3.0, 2.0], [None, 3.0, None], [2.0, 9.0, 2.0])] == [
        group.answers[2], group.answers[1], group.answers[0]]  # fmt: skip
    assert best(group, [None] * 3) is None


# What is measured


def test_the_table_is_the_mean_over_all_subsets_of_the_stored_scores(run: Path) -> None:
    groups, scores = read_records(run / "best_of/data/groups.jsonl", Group), read(run, "best_of", "scores.json")
    folder = run / "reward" / "weights"
    proxy = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score(groups)
    for stored, again in zip(scores["proxy"], proxy, strict=True):
        assert stored == pytest.approx(again, abs=1e-5)
    assert (scores["judge"], scores["judged"]) == ("gold", Gold().score(groups))
    table = read(run, "best_of", "best_of.json")
    assert [point["n"] for point in table] == [1, 2, 4]
    for point in table:
        pairs = list(zip(scores["proxy"], scores["judged"], strict=True))
        for key, own in (("proxy", [(p, p) for p, _ in pairs]), ("judge", pairs)):
            means = [float(enumerated(p, j, point["n"])) for p, j in own]
            assert point[key] == pytest.approx(sum(means) / len(means))
            assert point[f"{key}_interval"]["rows"] == 30
    assert table[0]["kl_bound"] == 0 < table[1]["kl_bound"] < table[2]["kl_bound"]
    told = headline(run, "best_of")
    assert told["proxy_one"] == round(table[0]["proxy"], 4) < told["proxy_best"] == round(table[2]["proxy"], 4)
    assert (told["judge"], told["judge_best"]) == ("gold", round(table[2]["judge"], 4))


# What learns from it


def test_sft_learns_the_picked_answers_by_their_exact_ids(run: Path) -> None:
    found = read_records(run / "best_of/data/demonstrations.jsonl", Demonstration)
    told = headline(run, "raft")
    assert told["demonstrations"] == len(found)
    manifest = Store(run).manifest("raft")
    assert manifest and [p.step for p in manifest.parents["demonstrations"]] == ["best_of"]
    trained = read_metrics(run / "raft")[-1]["num_tokens"]
    batches = told["steps"] * 8
    assert trained == pytest.approx(batches / len(found) * sum(len(d.answer.token_ids or ()) for d in found), rel=0.3)


def test_the_audit_shows_best_of_n_beside_the_models(run: Path) -> None:
    figures = read(run, "audit", "audit.json")["models"]
    assert list(figures) == ["sft", "raft", "sft best of 3"]
    row = figures["sft best of 3"]
    assert row["kl"] is None and row["kl_bound"]["estimate"] == pytest.approx(0.43195, abs=1e-5)
    assert all("kl_bound" not in figures[name] for name in ("sft", "raft"))
    assert row["win_rate"]["rows"] == row["gold"]["rows"] == 80, "two picks a prompt"
    plain, picked = (read_records(run / f"audit/data/answers-{name}.jsonl", Group) for name in ("sft", "sft best of 3"))
    assert [g.prompt for g in plain] == [g.prompt for g in picked]
    assert not {a.id for g in plain for a in g.answers} & {a.id for g in picked for a in g.answers}, "fresh answers"
    folder = run / "reward" / "weights"
    scorer = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder))
    means = []
    for groups in (plain, picked):
        values = [v for row in scorer.score(groups) for v in row if v is not None]
        means.append(sum(values) / len(values))
    assert means[1] > means[0], "by the score that picks, the picked are better"


def test_the_row_reaches_summary_and_report(run: Path) -> None:
    models = json.loads((run / "summary.json").read_text())["models"]
    row = models["sft best of 3"]
    assert row["kl_bound"] == pytest.approx(0.43195, abs=1e-5) and row["kl_to_sft"] is None
    assert row["n"]["gold"] > 10
    text = (run / "report.html").read_text()
    assert "sft best of 3" in text and "KL to sft, at most" in text


# On files


def test_on_a_file_rules_pick_and_judge(tmp_path: Path) -> None:
    """No gold there: best_of has no judge's column, and the audit takes listed rewards as its judge."""
    data = str(tmp_path / "p.jsonl")
    write_records(tmp_path / "p.jsonl", mix(build(0), "train", 200, seed=0))
    rule = [{"regex": {"pattern": "big|red|cannot"}}]
    path = recipe(
        tmp_path,
        best_of={"from": {"policy": "sft"}, "rewards": rule, "data": data},
        audit={"from": {"sft": "sft", "raft": "raft"}, "best_of": None, "rewards": rule, "data": data},
    )
    text = yaml.safe_load(path.read_text())
    del text["steps"]["audit"]["best_of"]
    path.write_text(yaml.safe_dump({**text, "held_out": 0.4}, sort_keys=False))
    run = tmp_path / "run"
    assert assent("run", path, "--out", run) == 0
    told = headline(run, "best_of")
    assert told["judge"] is None and told["judge_best"] is None and 0 < told["proxy_one"] < told["proxy_best"] <= 1
    found = read_records(run / "best_of/data/demonstrations.jsonl", Demonstration)
    assert found and all(re.search("big|red|cannot", d.answer.text) for d in found)
    audit = read(run, "audit", "audit.json")
    groups = read_records(run / "audit/data/answers-raft.jsonl", Group)
    share = [float(bool(re.search("big|red|cannot", a.text))) for g in groups for a in g.answers]
    assert audit["models"]["raft"]["reward"]["estimate"] == pytest.approx(sum(share) / len(share))


# What is refused


@pytest.mark.parametrize(
    ("reward", "why"),
    [("alike", "of 60 prompts have answers that all score alike"), ("unknown", "60 of 60 prompts have fewer than two")],
)
def test_where_nothing_is_better_there_is_nothing_to_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reward: str, why: str
) -> None:
    """The measurement stands; what would learn from it says why it cannot."""
    listed = {"from": {"policy": "sft"}, "rewards": [{"function": f"{__name__}:{reward}"}]}
    assert assent("run", recipe(tmp_path, best_of=listed), "--out", start(tmp_path)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert why in said
    assert "found no answer that is better than its siblings" in said and "Traceback" not in said
    assert headline(tmp_path / "run", "best_of")["demonstrations"] == 0


def test_a_reward_model_that_can_read_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    shutil.copytree(run / "reward" / "weights", tmp_path / "short")
    settings = json.loads((tmp_path / "short/config.json").read_text())
    (tmp_path / "short/config.json").write_text(json.dumps({**settings, "max_position_embeddings": 12}))
    listed = {"from": {"policy": "sft"}, "rewards": [{"model": str(tmp_path / "short")}]}
    assert assent("run", recipe(tmp_path, best_of=listed), "--out", run, "--until", "best_of") == 2
    assert "has no room for an answer of 16 tokens" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("step", "changes", "why"),
    [
        ("best_of", {"from": {"policy": "sft"}}, "a reward is needed"),
        ("best_of", {"answers": 1}, "greater than or equal to 2"),
        ("best_of", {"combine": {"stop_above": 1.0}}, "`combine.stop_above` is not read by a `best_of` step"),
        (
            "best_of",
            {"from": {"policy": "sft"}, "rewards": [{"regex": {"pattern": "a"}}], "reward_weight": 2.0},
            "`reward_weight` is not read",
        ),
        ("best_of", {"from": {"reward": "reward"}}, "input `policy` is missing"),
        ("raft", {"data": "d.jsonl"}, "`data` is not read"),
        ("raft", {"demonstrations": 100}, "`demonstrations` is not read"),
        ("raft", {"from": {"model": "sft", "demonstrations": "collect"}}, "name a step of kind best_of"),
        ("audit", {"from": {"sft": "sft", "raft": "raft"}}, "`best_of` is not read without `from: {reward: STEP}`"),
        ("audit", {"best_of": 1}, "greater than or equal to 2"),
        ("audit", {"rewards": [{"regex": {"pattern": "a"}}]}, "gold, with `data: lab`, is the judge"),
        ("audit", {"reference": "reward"}, "`reference: reward` is none of its inputs (sft, raft)"),
    ],
)
def test_contradictions_are_refused_before_anything_runs(
    tmp_path: Path, step: str, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(recipe(tmp_path, **{step: changes}))
    assert why in str(error.value)


def test_a_data_at_the_top_is_not_for_a_step_that_takes_picked_answers() -> None:
    steps = {
        "sft": {"model": "m"},
        "best_of": {"from": {"policy": "sft"}, "rewards": [{"regex": {"pattern": "a"}}]},
        "raft": STEPS["raft"],
    }
    found = parse({"data": "d.jsonl", "steps": steps}, "here", "r", []).steps
    assert [found[name].data for name in steps] == ["d.jsonl", "d.jsonl", "lab"]  # type: ignore[attr-defined]
