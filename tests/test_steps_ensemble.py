"""Ensembles of reward models as a step of a recipe: members, files, resume, use; at toy size."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tiny
import toy_run
from assent.artifacts.store import Store
from assent.config.blocks import Sampling
from assent.config.rewards import Combine
from assent.core.errors import DataError
from assent.core.jsonl import read_records, write_records
from assent.core.records import Judgment, Rater
from assent.engine.generate import LocalGenerator
from assent.methods.reward import Reward
from assent.rewards.ensemble import EnsembleReward, load_scorer
from assent.rewards.model import ModelReward
from assent.rewards.total import TotalReward
from assent.steps import collect, online
from assent.steps.pairs import pairs_of
from assent.train.tracking import read_metrics
from toy_data import refused
from toy_run import SHORT, assent

TRAINING = {
    "batch": 16,
    "normalise_prompts": 8,
    "epochs": 2,
    "limits": {"checkpoint_every": 2, "log_every": 1},
    **SHORT,
}
BASE = ("pretrain", "sft", "collect")


def recipe(path: Path, reward: dict[str, Any], **steps: dict[str, Any]) -> Path:
    """The toy recipe up to its judgments, then an ensemble on them, then further steps."""
    given = {"from": {"policy": "sft", "judgments": "collect"}, **TRAINING, **reward}
    made = {name: toy_run.RECIPE["steps"][name] for name in BASE} | {"reward": given} | steps
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": made}, sort_keys=False))
    return path


def headline(run: Path, step: str = "reward") -> dict[str, Any]:
    manifest = Store(run).manifest(step)
    assert manifest is not None
    return manifest.headline


def member(run: Path, number: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run / f"reward/weights/member-{number}/model.safetensors")
    return found


PPO = {"kind": "ppo", "from": {"policy": "sft", "reward": "reward"}, "iterations": 3, "prompts": 8, **SHORT}
TWO_BODIES = {"from": {"policy": ["sft", "sft_b"], "judgments": "collect"}, "ensemble": {"members": 3}}
STEPS = {
    "sft_b": {**toy_run.RECIPE["steps"]["sft"], "kind": "sft", "seed": 1},
    "lower": {**PPO, "combine": {"how": "lower", "k": 0.5}},
    "stopped": {**PPO, "combine": {"stop_above": 1e-6}},
    "best_of": {"from": {"policy": "sft", "reward": "reward"}, "combine": {"how": "min"}, "prompts": 8, **SHORT}
    | {"held_out_prompts": 8, "answers": 2},
    "compare": {"from": {"a": "lower", "b": "sft", "judge": "reward"}, "prompts": 20, **SHORT},
}


@cache
def bodies() -> Path:
    """A finished run: three members on two bodies, and what reads them. Look, but do not change."""
    run = toy_run.copy(toy_run._folder() / "ensemble", *BASE)
    path = recipe(toy_run._folder() / "ensemble.yaml", TWO_BODIES, **STEPS)
    assert assent("run", path, "--out", run) == 0
    return run


# Members


def test_each_member_is_a_plain_folder_and_has_its_own_curves() -> None:
    run = bodies()
    assert sorted(p.name for p in (run / "reward/weights").iterdir()) == ["member-1", "member-2", "member-3"]
    for number in (1, 2, 3):
        folder = run / f"reward/weights/member-{number}"
        assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 1
        assert AutoTokenizer.from_pretrained(folder).eos_token
        assert len(read_metrics(run / f"reward/member-{number}")) > 2
    assert not list((run / "reward").rglob("checkpoint*")), "a finished step needs none"


def test_members_on_two_trunks_share_no_weights() -> None:
    """Members 1 and 3 began from one trunk, member 2 from the other; none ends as another."""
    first, second, third = (member(bodies(), number) for number in (1, 2, 3))
    trunks = [load_file(bodies() / step / "weights/model.safetensors") for step in ("sft", "sft_b")]
    matrices = [name for name in first if first[name].dim() == 2 and name in trunks[0]]
    assert len(matrices) > 10
    for name in matrices:
        assert not any(a.equal(b) for a, b in ((first[name], second[name]), (first[name], third[name])))

    def nearer(found: dict[str, torch.Tensor]) -> int:
        gaps = [sum(float((found[name] - trunk[name]).norm()) for name in matrices) for trunk in trunks]
        return gaps.index(min(gaps))

    assert [nearer(found) for found in (first, second, third)] == [0, 1, 0]


def test_members_and_their_mean_are_measured() -> None:
    found = json.loads((bodies() / "reward/data/held_out.json").read_text())
    assert [one["member"] for one in found["members"]] == [1, 2, 3]
    assert all(one["n"] == found["n"] and 0 <= one["accuracy"] <= 1 for one in found["members"])
    assert found["disagreement"] > 0 and 0 <= found["disagreement_auc"] <= 1
    assert {"accuracy", "accuracy_floor", "ece", "ece_calibrated", "calibration", "pair_temperature"} <= found.keys()
    line = headline(bodies())
    assert line["members"] == 3 and len(line["member_accuracy"]) == 3 and line["accuracy"] == found["accuracy"]
    for number, one in enumerate(found["members"], 1):
        config = json.loads((bodies() / f"reward/weights/member-{number}/config.json").read_text())
        assert config["pair_temperature"] == pytest.approx(one["pair_temperature"])


def test_what_is_measured_is_what_the_files_say() -> None:
    """Loaded again, the ensemble disagrees on the held-out answers, and is right on their pairs, as was written."""
    groups, judgments, held_out = collect.read(bodies() / "collect")
    pairs = pairs_of(groups, judgments)
    asked = [group for group in groups if group.id in pairs and group.prompt.id in held_out]
    scorer = load_scorer("e", bodies() / "reward/weights")
    assert isinstance(scorer, EnsembleReward)
    rows = scorer.score(asked)
    found = json.loads((bodies() / "reward/data/held_out.json").read_text())
    assert scorer.disagreement == pytest.approx(found["disagreement"], abs=1e-4)
    leads = [
        float(row[pair.better] or 0) - float(row[pair.worse] or 0)
        for group, row in zip(asked, rows, strict=True)
        for pair in pairs[group.id]
    ]
    assert sum(lead > 0 for lead in leads) / len(leads) == pytest.approx(found["accuracy"], abs=1e-6)


def test_a_slice_by_guideline_learns_from_its_own_judgments_alone(tmp_path: Path) -> None:
    """What others said does not reach it: turning every judgment under the other guideline moves nothing."""

    def run(name: str, turned: bool) -> Path:
        folder = toy_run.copy(tmp_path / name, *BASE)
        data = folder / "collect/data/judgments.jsonl"
        changed = []
        for i, judgment in enumerate(read_records(data, Judgment)):
            under = "brief" if i % 2 else "warm"
            tiers = judgment.tiers[::-1] if turned and under == "warm" else judgment.tiers
            changed.append(judgment.model_copy(update={"guideline": under, "tiers": tiers}))
        write_records(data, changed)
        _sign(folder)
        path = recipe(tmp_path / f"{name}.yaml", {"ensemble": {"differ": "guideline"}})
        assert assent("run", path, "--out", folder) == 0
        return folder

    one, other = run("one", False), run("other", True)
    assert [m["of"] for m in json.loads((one / "reward/data/held_out.json").read_text())["members"]] == [
        "guideline brief",
        "guideline warm",
    ]
    (brief, warm), (same, moved) = ([member(folder, number) for number in (1, 2)] for folder in (one, other))
    assert all(brief[name].equal(same[name]) for name in brief)
    assert not all(warm[name].equal(moved[name]) for name in warm)


def _sign(run: Path) -> None:
    """Let a step's manifest name the files as they are now, so that the change is taken for its result."""
    store = Store(run)
    manifest = store.manifest("collect")
    assert manifest is not None
    content, files = store.content("collect")
    path = run / "collect/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"content": content, "files": files}))


def test_a_member_with_nothing_to_learn_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = toy_run.copy(tmp_path / "run", *BASE)
    data = run / "collect/data/judgments.jsonl"
    found = read_records(data, Judgment)
    tied = found[0].model_copy(update={"guideline": "late", "tiers": (tuple(a for t in found[0].tiers for a in t),)})
    write_records(data, [tied, *found[1:]])
    _sign(run)
    path = recipe(tmp_path / "r.yaml", {"ensemble": {"differ": "guideline"}})
    said = refused(capsys, "run", path, "--out", run)
    assert "no training pair is left for member 1 (guideline late)" in " ".join(said.split())


def test_weights_for_a_rater_who_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = toy_run.copy(tmp_path / "run", *BASE)
    path = recipe(tmp_path / "r.yaml", {"labels": {"weights": {"kind:human": 2.0}}})
    said = " ".join(refused(capsys, "run", path, "--out", run).split())
    assert "`kind:human` is no rater of these judgments" in said and "kind:simulated" in said
    raters = read_records(run / "collect/data/raters.jsonl", Rater)
    path = recipe(tmp_path / "r.yaml", {"labels": {"weights": {raters[0].id: 0.0}}})
    assert assent("run", path, "--out", run) == 0


# Killed


def artifact(run: Path) -> dict[str, bytes]:
    """Every file of the reward step that counts as its result."""
    files = [p for part in ("weights", "data") for p in (run / "reward" / part).rglob("*") if p.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


class Died(BaseException):
    """As sudden as a kill, for all that is on disk."""


def test_killed_in_the_middle_of_the_second_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed, an ensemble has the same bits: weights, figures, measurements."""
    path = recipe(tmp_path / "r.yaml", {"ensemble": {"differ": "bootstrap", "members": 2}})
    straight, killed = (toy_run.copy(tmp_path / name, *BASE) for name in ("straight", "killed"))
    assert assent("run", path, "--out", straight) == 0
    first, second = (len(read_metrics(straight / f"reward/member-{number}")) for number in (1, 2))
    assert second >= 5
    seen, observe = 0, Reward.observe

    def dies(self: Reward, step: int) -> dict[str, float]:
        nonlocal seen
        seen += 1
        if seen == first + 4:
            raise Died
        return observe(self, step)

    monkeypatch.setattr(Reward, "observe", dies)
    with pytest.raises(Died):
        assent("run", path, "--out", killed)
    assert (killed / "reward/member-2/checkpoint.safetensors").exists() and not (
        killed / "reward/manifest.json"
    ).exists()
    monkeypatch.setattr(Reward, "observe", observe)
    assert assent("run", path, "--out", killed) == 0
    assert artifact(killed) == artifact(straight)
    for number in (1, 2):
        rows = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run / f"reward/member-{number}")]
            for run in (straight, killed)
        ]
        assert rows[0] == rows[1]
    assert not list((killed / "reward").rglob("checkpoint*"))


# In use


def test_ppo_learns_from_the_ensemble_and_logs_its_disagreement() -> None:
    rows = read_metrics(bodies() / "lower")
    assert len(rows) == 3 and all(row["rewards/disagreement"] > 0 for row in rows)
    assert headline(bodies(), "lower")["iterations"] == 3 and "ended_by" not in headline(bodies(), "lower")


def test_disagreement_stops_a_step_which_is_then_finished() -> None:
    assert [row["step"] for row in read_metrics(bodies() / "stopped")] == [0]
    found = headline(bodies(), "stopped")
    assert found["iterations"] == 1 and found["ended_by"] == "disagreement"
    assert assent("run", toy_run._folder() / "ensemble.yaml", "--out", bodies()) == 0
    assert len(read_metrics(bodies() / "stopped")) == 1, "done before, nothing to do"


def test_an_ensemble_judges_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert headline(bodies(), "compare")["judge"] == "reward"
    groups = bodies() / "collect/data/groups.jsonl"
    capsys.readouterr()
    assert assent("score", bodies() / "reward", groups) == 0
    whole = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    each = []
    for number in (1, 2, 3):
        assert assent("score", bodies() / f"reward/weights/member-{number}", groups) == 0
        each.append([json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()])
    assert whole == pytest.approx([sum(values) / 3 for values in zip(*each, strict=True)], abs=1e-5)


def test_combine_without_an_ensemble_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = toy_run.write_recipe(tmp_path / "r.yaml", ppo={"combine": {"how": "min"}})
    said = refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "`combine` is not read" in said and "ensemble" in said


# Contexts


def reader(context: int) -> ModelReward:
    model = tiny.reward_model()
    model.config.max_position_embeddings = context
    return ModelReward("short", model, tiny.tokenizer())


def generator(max_tokens: int) -> LocalGenerator:
    return LocalGenerator(tiny.policy(), tiny.tokenizer(), "tiny", Sampling(max_tokens=max_tokens))


def test_a_reward_model_that_can_read_no_full_answer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    asked = tiny.prompts(12)
    room = reader(32).room(asked)
    longest = max(room)
    assert min(room) < longest, "prompts differ in length"
    both = EnsembleReward([reader(64), reader(32)], Combine())
    for scorer in (reader(32), both):
        total = TotalReward([("rm", scorer, 1.0)])
        with pytest.raises(DataError, match=rf"reward model short: its context of 32 tokens .* {longest + 1} tokens"):
            online.check_room(total, asked, generator(longest + 1))
        online.check_room(total, asked, generator(min(room)))
        assert "no score" not in capsys.readouterr().err
        online.check_room(total, asked, generator(longest))
        said = " ".join(capsys.readouterr().err.split())
        assert f"to {sum(left < longest for left in room)} of 12 prompts, short can read no answer" in said
