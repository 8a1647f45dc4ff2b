"""Judgments that do not fit, met on the command line: refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from assent.core.records import Group, Judgment, Prompt
from assent.engine import score_all
from toy_data import PAIRS, model_folder, nothing_made, recipe, refused, rows
from toy_run import assent


def collected(folder: Path, *given: Any) -> Path:
    data = rows(folder / "j.jsonl", *[g if isinstance(g, dict | str) else g.model_dump(mode="json") for g in given])
    return recipe(folder, collect={"source": "file", "data": str(data)})


GROUP = tiny.group(Prompt.ask("w1"), "w2", "w3", "w4")
A, B, C = (answer.id for answer in GROUP.answers)


def judged(*tiers: tuple[str, ...], id: str = "j1", **rest: Any) -> Judgment:
    return Judgment(id=id, group=GROUP.id, rater="r", tiers=tiers, **rest)


@pytest.mark.parametrize(
    ("judgment", "why"),
    [
        (judged((A,), (B,)), f"answer {C} of group {GROUP.id} is not placed"),
        (judged((A,), (B, C), (A,)), f"answer {A} is placed twice"),
        (judged((A,), (B,), (C,), ("made-up",)), f"answer made-up is not in group {GROUP.id}"),
        (
            Judgment(id="j1", group="elsewhere", rater="r", tiers=((A,),)),
            "on group elsewhere, which is not there",
        ),
    ],
)
def test_tiers_that_miss_repeat_or_invent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, judgment: Judgment, why: str
) -> None:
    said = refused(capsys, "run", collected(tmp_path, GROUP, judgment), "--out", tmp_path / "run")
    assert why in said and f"{tmp_path / 'j.jsonl'}:2" in said and "j1" in said
    assert nothing_made(tmp_path / "run")


def test_a_judgment_id_with_other_content(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = judged((A,), (B,), (C,)), judged((B,), (A,), (C,))
    said = refused(capsys, "run", collected(tmp_path, GROUP, first, second), "--out", tmp_path / "run")
    assert "judgment id j1 is repeated with other content" in said
    assert "j.jsonl:3" in said and "j.jsonl:2" in said, "both places are named"
    assert assent("run", collected(tmp_path, GROUP, first, first), "--out", tmp_path / "run") == 0


def test_a_group_id_with_other_content(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = Group(id=GROUP.id, prompt=GROUP.prompt, answers=GROUP.answers[:2])
    said = refused(
        capsys, "run", collected(tmp_path, GROUP, other, judged((A,), (B,), (C,))), "--out", tmp_path / "run"
    )
    assert f"group id {GROUP.id} is repeated with other content" in said


def test_rankings_that_are_all_ties(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = rows(tmp_path / "j.jsonl", GROUP.model_dump(mode="json"), judged((A, B, C)).model_dump(mode="json"))
    path = recipe(
        tmp_path,
        collect={"source": "file", "data": str(data)},
        reward={"from": {"judgments": "collect"}, "model": str(model_folder()), "template": "plain"},
    )
    said = refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "no training pair is left: all 1 rankings are ties" in said


def test_scores_that_are_all_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Or the scale would be divided by zero, and every later reward be NaN."""
    data = rows(tmp_path / "p.jsonl", *PAIRS)
    step = {"model": str(model_folder()), "data": str(data), "template": "plain", "epochs": 1, "batch": 4}
    path = recipe(
        tmp_path,
        sft={**step, "optimiser": {"lr": 1e-12}},
        collect={"source": "file", "data": str(data)},
        reward={"from": {"policy": "sft", "judgments": "collect"}, "sampling": {"max_tokens": 4}},
    )
    with pytest.MonkeyPatch.context() as patch:

        def flat(*given: Any, **rest: Any) -> Any:
            found = score_all(*given, **rest)
            return found._replace(reward_N=torch.zeros_like(found.reward_N))

        patch.setattr("assent.steps.reward.score_all", flat)
        said = refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "gives every answer the same score" in said
