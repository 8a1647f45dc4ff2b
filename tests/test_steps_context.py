"""What a step is given: prompts and demonstrations from one side of the split, seeds of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.config.steps import PpoConfig
from assent.core.errors import DataError
from assent.core.records import Prompt
from assent.lab.world import held_out
from assent.steps.context import Context, demonstrations, prompts


def context(seed: int = 0, run_seed: int = 0, share: float = 0.3, **inputs: list[Path]) -> Context:
    config = PpoConfig.model_validate({"from": {"policy": "sft", "reward": "rm"}})
    return Context("ppo", config, seed, Path("run/ppo"), inputs, share, run_seed)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """60 rows about 20 subjects."""
    path = tmp_path / "d.jsonl"
    rows = [{"prompt": f"q {i}", "completion": f" a {i}", "subject": f"s{i % 20}"} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_no_subject_is_on_both_sides(data: str) -> None:
    sides = [prompts(context(), data, held_out=side, n=None) for side in (False, True)]
    assert len(sides[0]) + len(sides[1]) == 60 and all(sides)
    assert not {p.subject for p in sides[0]} & {p.subject for p in sides[1]}
    train, kept = demonstrations(context(), data, 640)
    assert {d.prompt.id for d in train} == {p.id for p in sides[0]}
    assert {d.prompt.id for d in kept} == {p.id for p in sides[1]}


def test_the_split_depends_on_no_seed(data: str) -> None:
    """Another seed must not train on what the first one measured."""
    sides = {tuple(p.id for p in prompts(context(s, s), data, held_out=True, n=None)) for s in range(3)}
    assert len(sides) == 1


def test_the_lab_splits_by_itself_and_another_seed_asks_other_prompts() -> None:
    found = prompts(context(), "lab", held_out=False, n=50)
    assert len(found) == 50 and not any(held_out(p.subject) for p in found)
    assert all(held_out(p.subject) for p in prompts(context(), "lab", held_out=True, n=50))
    assert found == prompts(context(), "lab", held_out=False, n=50)
    assert found != prompts(context(seed=1), "lab", held_out=False, n=50)


def test_the_world_is_the_runs_whatever_the_steps_seed() -> None:
    """A step with a seed of its own still lives in the world its base model was taught."""

    def truths(**seeds: int) -> dict[Any, Any]:
        asked = prompts(context(**seeds), "lab", held_out=False, n=400)
        return {p.subject: p.tags["truth"] for p in asked if p.tags["kind"] == "fact"}

    one, two = truths(seed=1), truths(seed=2)
    shared = one.keys() & two.keys()
    assert shared and all(one[s] == two[s] for s in shared)
    other = truths(run_seed=1)
    assert not other.keys() or {s: other[s] for s in other} != {s: one.get(s) for s in other}


def test_at_most_n_of_a_file(data: str) -> None:
    assert len(prompts(context(), data, held_out=True, n=3)) == 3


def test_a_side_without_a_prompt(data: str) -> None:
    with pytest.raises(DataError, match="no held-out prompts"):
        prompts(context(share=0.0), data, held_out=True, n=None)
    with pytest.raises(DataError, match="no training prompts"):
        prompts(context(share=1.0), data, held_out=False, n=None)


def test_seeds_of_two_purposes_and_two_steps_differ() -> None:
    assert len({context(seed).seed_for(name) for seed in (0, 1) for name in ("order", "head")}) == 4


def test_inputs_are_weights_folders(tmp_path: Path) -> None:
    given = context(policy=[tmp_path / "sft"], reward=[tmp_path / "a", tmp_path / "b"])
    assert given.model_input("policy") == tmp_path / "sft" / "weights"
    assert given.model_input("judge") is None
    with pytest.raises(DataError, match="takes one step, not 2"):
        given.model_input("reward")
    assert given.is_held_out(Prompt.of("x")) == context().is_held_out(Prompt.of("x"))
