"""What the reward step makes of judgments, and how it measures itself on the held-out ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from assent.artifacts.store import Store
from assent.config.steps import RewardConfig
from assent.core.errors import DataError
from assent.core.records import Group, Judgment, Prompt
from assent.formats.preferences import MARGIN
from assent.models.load import save
from assent.steps.reward import measure, pairs_of
from toy_run import assent

GROUP = tiny.group(Prompt.ask("w1"), "w2", "w3", "w4")
A, B, C = (answer.id for answer in GROUP.answers)


def judged(*tiers: tuple[str, ...], id: str = "j", **rest: Any) -> Judgment:
    return Judgment(id=id, group=GROUP.id, rater="r", tiers=tiers, **rest)


# Pairs


def test_all_pairs_of_a_ranking_share_the_weight_of_one_judgment() -> None:
    pairs = pairs_of([GROUP], [judged((B,), (A,), (C,))])[GROUP.id]
    assert sorted(pairs) == [(0, 2, 1 / 3, 0.0), (1, 0, 1 / 3, 0.0), (1, 2, 1 / 3, 0.0)]
    tied = pairs_of([GROUP], [judged((B,), (A, C))])[GROUP.id]
    assert sorted(tied) == [(1, 0, 0.5, 0.0), (1, 2, 0.5, 0.0)]


def test_raters_who_disagree_both_count() -> None:
    both = [judged((A,), (B, C), id="1"), judged((B, C), (A,), id="2")]
    pairs = pairs_of([GROUP], both)[GROUP.id]
    assert sorted(pairs) == [(0, 1, 0.5, 0.0), (0, 2, 0.5, 0.0), (1, 0, 0.5, 0.0), (2, 0, 0.5, 0.0)]


def test_a_corrected_judgment_replaces_the_first() -> None:
    both = [judged((A,), (B,), (C,), id="1"), judged((C,), (B,), (A,), id="2", supersedes="1")]
    for order in (both, both[::-1]):
        assert {(w, l) for w, l, _, _ in pairs_of([GROUP], order)[GROUP.id]} == {(2, 1), (2, 0), (1, 0)}


def test_what_makes_no_pair() -> None:
    skipped = judged(id="1", outcome="skip"), judged(id="2", outcome="both_bad"), judged((A, B, C), id="3")
    assert pairs_of([GROUP], list(skipped)) == {}
    same = tiny.group(Prompt.ask("w1"), "w2", "w2")
    ranking = Judgment(id="j", group=same.id, rater="r", tiers=tuple((a.id,) for a in same.answers))
    assert pairs_of([same], [ranking]) == {}, "one text cannot be better than itself"


def test_margins_reach_the_loss() -> None:
    pairs = pairs_of([GROUP], [judged((A,), (B, C), scores={MARGIN: 1.5})])[GROUP.id]
    assert {margin for *_, margin in pairs} == {1.5}


def test_judgments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="judgment j: answer"):
        pairs_of([GROUP], [judged((A,), (B,))])
    with pytest.raises(DataError, match="names no known group"):
        pairs_of([], [judged((A,), (B,), (C,))])


# Measuring


class Tagged:
    """`n` groups of two whose better answer is known; those of `tests` ask other prompts."""

    def __init__(self, n: int, better: str, worse: str, tests: bool = False) -> None:
        self.groups: list[Group] = []
        self.judgments: list[Judgment] = []
        prompts = tiny.prompts(100)
        for i, prompt in enumerate(prompts[60 : 60 + n] if tests else prompts[:n]):
            group = tiny.group(prompt, worse, better)
            self.groups.append(group)
            tiers = ((group.answers[1].id,), (group.answers[0].id,))
            self.judgments.append(Judgment(id=f"{n}-{i}", group=group.id, rater="r", tiers=tiers))


def measured(monkeypatch: pytest.MonkeyPatch, train: Tagged, test: Tagged, lead: float) -> dict[str, Any]:
    """`measure` with a model that scores every better answer by `lead` above the worse one."""

    def fixed(model: Any, encoded: list[Any], budget: int) -> Any:
        rewards = [value for _ in encoded for value in (0.0, lead)]
        return type("Scores", (), {"reward_N": torch.tensor(rewards)})

    monkeypatch.setattr("assent.steps.reward.score_all", fixed)
    pairs = pairs_of(train.groups + test.groups, train.judgments + test.judgments)
    config = RewardConfig.model_validate({"from": {"policy": "a", "judgments": "b"}})
    return measure(None, tiny.tokenizer(), train.groups, test.groups, pairs, config, 64, seed=0)


def test_a_model_no_better_than_looks_does_not_beat_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer is always better here: the floor finds that too, so a perfect accuracy proves nothing."""
    long, short = "w2 w3 w4 w5 w6 w7", "w2"
    found = measured(monkeypatch, Tagged(60, long, short), Tagged(30, long, short, tests=True), lead=1.0)
    assert (found["accuracy"], found["accuracy_floor"]) == (1.0, 1.0)
    assert found["floor_difference_interval"] == [0.0, 0.0]
    assert (found["n"], found["n_subjects"]) == (30, 30)


def test_a_model_that_sees_more_than_looks_beats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers that look the same: the floor must guess, the model knows."""
    found = measured(monkeypatch, Tagged(60, "w2", "w3"), Tagged(30, "w2", "w3", tests=True), lead=1.0)
    assert found["accuracy"] == 1.0 and found["accuracy_floor"] == 0.5
    assert found["floor_difference_interval"][0] > 0


def test_a_model_that_is_always_wrong_and_one_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = Tagged(60, "w2", "w3"), Tagged(30, "w2", "w3", tests=True)
    assert measured(monkeypatch, train, test, lead=-1.0)["accuracy"] == 0.0
    assert measured(monkeypatch, train, test, lead=0.0)["accuracy"] == 0.5


def test_without_held_out_pairs_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, Tagged(20, "w2", "w3"), Tagged(0, "w2", "w3", tests=True), lead=1.0)
    assert found["accuracy"] is None and found["n"] == 0


# The step


def test_preferences_are_learnt_and_held_out_subjects_are_not(tmp_path: Path) -> None:
    """`w2` is better than `w3`, whatever is asked: held-out accuracy 1, on subjects the split kept away."""
    save(tmp_path / "model", tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")

    def turn(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    answers = {"chosen": turn("assistant", "w2"), "rejected": turn("assistant", "w3")}
    asked = enumerate(tiny.prompts(80))
    rows = [{"prompt": turn("user", p.text), **answers, "subject": f"s{i // 2}"} for i, p in asked]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = {"epochs": 6, "batch": 8, "optimiser": {"lr": 0.01}}
    recipe = {
        "name": "r", "threads": 1, "held_out": 0.3, "data": str(tmp_path / "pairs.jsonl"),
        "steps": {
            "collect": {"source": "file"},
            "reward": {"from": {"judgments": "collect"}, "model": str(tmp_path / "model"), **training},
        },
    }  # fmt: skip
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    assert assent("run", tmp_path / "r.yaml", "--out", tmp_path / "run") == 0
    manifest = Store(tmp_path / "run").manifest("reward")
    assert manifest and manifest.headline["accuracy"] == 1.0
    data = tmp_path / "run" / "collect" / "data"
    kept = set(json.loads((data / "split.json").read_text())["held_out"])
    groups = [Group.model_validate_json(line) for line in (data / "groups.jsonl").read_text().splitlines()]
    sides = {
        g.prompt.subject: {h.prompt.id in kept for h in groups if h.prompt.subject == g.prompt.subject} for g in groups
    }
    assert all(len(side) == 1 for side in sides.values()), "no subject stands on both sides"
    assert manifest.headline["n_subjects"] == sum(side == {True} for side in sides.values())
    assert manifest.headline["rankings"] == len(groups) - len(kept)
