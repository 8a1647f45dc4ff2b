"""Data of the rating service in a recipe: it stops with a count, goes on when people are done, and takes it frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import toy_run
from assent.core.jsonl import read_records
from assent.core.records import Demonstration, Group, Judgment, Prompt
from assent.feedback.places import first_in_line
from assent.feedback.records import Assignment, Queue
from assent.feedback.store import Store
from assent.feedback.waiting import Missing, missing
from assent.rewards.ensemble import EnsembleReward, load_scorer
from assent.steps import collect
from feedback_store import first_wins, groups, person
from toy_run import assent
from web_tools import HASHER


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "people.db")


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    with Store.open(db, create=True, hasher=HASHER) as made:
        made.set_queue(Queue(gold=0, repeat=0, control=0))
        yield made


def recipe(path: Path, **steps: dict[str, Any]) -> Path:
    """A recipe of these steps alone."""
    path.write_text(yaml.safe_dump({"name": "people", "threads": 1, "steps": steps}, sort_keys=False))
    return path


def judge(store: Store, name: str, most: int = 1000) -> int:
    """One person judges up to `most` items, writing where asked; how many."""
    who = next((p for p in store.people() if p.name == name), None) or person(store, name)
    done = 0
    while done < most and isinstance(item := store.next(who), Assignment):
        ideal = f"an answer by {name}" if item.kind == "write" else None
        store.submit(who, item.id, item.id, first_wins(item, ideal=ideal))
        done += 1
    return done


def test_missing_counts_places_of_a_kind_and_not_what_is_in_hand(store: Store) -> None:
    store.add_groups(groups(3), "compare", overlap=2)
    store.add_prompts([Prompt.ask("Write.")])
    who = person(store, "Ada")
    item = store.next(who)
    assert isinstance(item, Assignment)
    assert missing(store, ("compare", "rank")) == Missing(6, 0) and missing(store, ("write",)) == Missing(1, 0)
    store.submit(who, item.id, "k", first_wins(item))
    assert missing(store, ("compare",)).left + missing(store, ("write",)).left == 6


def test_a_queue_that_is_not_judged_stops_the_run_with_a_count(
    store: Store, db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_groups(groups(12), "compare")
    assert judge(store, "Ada", 5) == 5
    file, out = recipe(tmp_path / "r.yaml", collect={"source": "service", "db": db}), tmp_path / "run"
    assert assent("run", file, "--out", out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "7 of 12 judgments are missing" in said and "Traceback" not in said
    assert not (out / "collect/manifest.json").exists()

    judge(store, "Ada")
    assert assent("run", file, "--out", out) == 0
    kept = read_records(out / "collect/data/judgments.jsonl", Judgment)
    assert kept == store.judgments() and len(kept) == 12
    sheet = json.loads((out / "collect/data/snapshot/datasheet.json").read_text())
    assert sheet["counts"]["standing"] == 12
    assert any(
        name.startswith("data/snapshot/") for name in json.loads((out / "collect/manifest.json").read_text())["files"]
    )

    store.add_groups(groups(3, answers=3), "rank")  # what came later is another snapshot's
    assert assent("run", file, "--out", out) == 0
    assert read_records(out / "collect/data/judgments.jsonl", Judgment) == kept


def test_what_people_wrote_trains_the_model(store: Store, db: str, tmp_path: Path) -> None:
    store.add_prompts([Prompt.ask(f"say it {i} times") for i in range(12)])
    sft = {
        "model": str(toy_run.finished() / "pretrain/weights"),
        "source": "service",
        "db": db,
        "epochs": 1,
        "batch": 4,
    }
    file, out = recipe(tmp_path / "r.yaml", sft=sft), tmp_path / "run"
    assert assent("run", file, "--out", out) == 2
    judge(store, "Bo")
    assert assent("run", file, "--out", out) == 0
    manifest = json.loads((out / "sft/manifest.json").read_text())
    shown = read_records(next((out / "sft/data/snapshot/demonstrations").glob("*.jsonl")), Demonstration)
    assert len(shown) == 12 and {d.answer.text for d in shown} == {"an answer by Bo"}
    assert manifest["headline"]["demonstrations"] + manifest["headline"].get("held_out_n", 0) == 12
    assert (out / "sft/weights/model.safetensors").exists()


def test_a_policys_answers_are_asked_once_and_waited_for(
    store: Store, db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_run.copy(tmp_path / "run", "pretrain", "sft")
    asked = {"from": {"policy": "sft"}, "source": "service", "db": db, "prompts": 8, "held_out_prompts": 4}
    given = {**asked, "answers": 2, "overlap": 2, **toy_run.SHORT}
    steps = {name: toy_run.RECIPE["steps"][name] for name in ("pretrain", "sft")}
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": {**steps, "collect": given}}, sort_keys=False))
    assert assent("run", file, "--out", tmp_path / "run") == 2
    queued = store.progress()
    assert queued.items > 0 and queued.places == 2 * queued.items
    monkeypatch.setattr(collect, "sample", lambda *_: pytest.fail("sampled again"))
    judge(store, "Ada")
    assert assent("run", file, "--out", tmp_path / "run") == 2, "each wants two people"
    judge(store, "Bo")
    assert assent("run", file, "--out", tmp_path / "run") == 0
    data = tmp_path / "run/collect/data"
    kept = read_records(data / "groups.jsonl", Group)
    assert {g.id for g in kept} == {g.id for g in store.groups()} and len(kept) == queued.items
    held_out = json.loads((data / "split.json").read_text())["held_out"]
    assert 0 < len(held_out) < len(kept)


def test_what_an_ensemble_is_least_sure_of_is_asked_first(store: Store, db: str, tmp_path: Path) -> None:
    toy_run.copy(tmp_path / "run", "pretrain", "sft", "collect")
    steps = {name: toy_run.RECIPE["steps"][name] for name in ("pretrain", "sft", "collect", "reward")}
    asked = {"kind": "collect", "source": "service", "db": db, "prompts": 8, "held_out_prompts": 4, "answers": 2}
    steps["reward"] = {**steps["reward"], "ensemble": {"members": 2}}
    steps["asked"] = {**asked, "from": {"policy": "sft", "reward": "reward"}, **toy_run.SHORT}
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    assert assent("run", file, "--out", tmp_path / "run") == 2
    scorer = load_scorer("reward", tmp_path / "run/reward/weights")
    assert isinstance(scorer, EnsembleReward)

    def doubt(group: Group) -> float:
        one, other = (table[0][0] - table[0][1] for table in scorer.by_member([group]))  # type: ignore[operator]
        return abs(one - other)

    waiting = first_in_line(store, 100)
    by_text = {group.prompt.text: doubt(group) for group in store.groups()}
    doubts = [by_text[each.prompt] for each in waiting]
    # Scored here one by one and there together: rounding may turn round two that are equally in doubt.
    assert len(doubts) > 4 and doubts == pytest.approx(sorted(doubts, reverse=True), abs=1e-5)
    assert doubts[0] > doubts[-1] + 1e-3


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ({"from": {"policy": "sft", "reward": "reward"}, "source": "service"}, "one reward model alone"),
        ({"from": {"policy": "sft", "reward": "reward"}}, "source: service"),
        ({"from": {"reward": "reward"}, "source": "service"}, "with both"),
    ],
)
def test_an_order_that_nothing_can_give_is_refused(
    step: dict[str, Any], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {**toy_run.RECIPE["steps"], "asked": {"kind": "collect", **step}}
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    assert assent("run", file, "--out", tmp_path / "run") == 2
    assert named in " ".join(capsys.readouterr().err.split())


def test_a_store_that_is_not_there_is_said_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recipe(tmp_path / "r.yaml", collect={"source": "service", "db": str(tmp_path / "none.db")})
    assert assent("run", file, "--out", tmp_path / "run") == 2
    assert "none.db" in capsys.readouterr().err.replace("\n", "") and not (tmp_path / "none.db").exists()
