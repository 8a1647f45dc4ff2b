"""What the reward step makes of judgments, and how it measures itself on the held-out ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from assent.artifacts.store import Store
from assent.core.errors import DataError
from assent.core.records import Group, Judgment, Prompt
from assent.formats.preferences import MARGIN
from assent.models.load import save
from assent.steps.measure import Rewards, combined, disagreement, measure, texts_of
from assent.steps.pairs import pairs_of
from toy_run import assent

GROUP = tiny.group(Prompt.ask("w1"), "w2", "w3", "w4")
A, B, C = (answer.id for answer in GROUP.answers)


def judged(*tiers: tuple[str, ...], id: str = "j", **rest: Any) -> Judgment:
    return Judgment(id=id, group=GROUP.id, rater="r", tiers=tiers, **rest)


# Pairs


def test_all_pairs_of_a_ranking_share_the_weight_of_one_judgment() -> None:
    pairs = pairs_of([GROUP], [judged((B,), (A,), (C,))])[GROUP.id]
    assert sorted(pairs) == [(0, 2, 1 / 3, 0.0, 1.0), (1, 0, 1 / 3, 0.0, 1.0), (1, 2, 1 / 3, 0.0, 1.0)]
    tied = pairs_of([GROUP], [judged((B,), (A, C))])[GROUP.id]
    assert sorted(tied) == [(1, 0, 0.5, 0.0, 1.0), (1, 2, 0.5, 0.0, 1.0)]


def test_raters_who_disagree_both_count() -> None:
    both = [judged((A,), (B, C), id="1"), judged((B, C), (A,), id="2")]
    pairs = pairs_of([GROUP], both)[GROUP.id]
    assert sorted(pair[:3] for pair in pairs) == [(0, 1, 0.5), (0, 2, 0.5), (1, 0, 0.5), (2, 0, 0.5)]


def test_a_corrected_judgment_replaces_the_first() -> None:
    both = [judged((A,), (B,), (C,), id="1"), judged((C,), (B,), (A,), id="2", supersedes="1")]
    for order in (both, both[::-1]):
        assert {(w, l) for w, l, *_ in pairs_of([GROUP], order)[GROUP.id]} == {(2, 1), (2, 0), (1, 0)}


def test_what_makes_no_pair() -> None:
    skipped = judged(id="1", outcome="skip"), judged(id="2", outcome="both_bad"), judged((A, B, C), id="3")
    assert pairs_of([GROUP], list(skipped)) == {}
    same = tiny.group(Prompt.ask("w1"), "w2", "w2")
    ranking = Judgment(id="j", group=same.id, rater="r", tiers=tuple((a.id,) for a in same.answers))
    assert pairs_of([same], [ranking]) == {}, "one text cannot be better than itself"


def test_margins_reach_the_loss() -> None:
    pairs = pairs_of([GROUP], [judged((A,), (B, C), scores={MARGIN: 1.5})])[GROUP.id]
    assert {pair.margin for pair in pairs} == {1.5}


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


def measured(train: Tagged, test: Tagged, lead: float) -> dict[str, Any]:
    """Of a model that scores every better answer by `lead` above the worse one."""
    pairs = pairs_of(train.groups + test.groups, train.judgments + test.judgments)
    rewards = {group.id: [0.0, lead] for group in test.groups}
    return measure(rewards, test.groups, pairs, texts_of(train.groups, pairs), 1.0, seed=0)


def test_a_model_no_better_than_looks_does_not_beat_the_floor() -> None:
    """Longer is always better here: the floor finds that too, so a perfect accuracy proves nothing."""
    long, short = "w2 w3 w4 w5 w6 w7", "w2"
    found = measured(Tagged(60, long, short), Tagged(30, long, short, tests=True), lead=1.0)
    assert (found["accuracy"], found["accuracy_floor"]) == (1.0, 1.0)
    assert found["floor_difference_interval"] == [0.0, 0.0]
    assert (found["n"], found["n_subjects"]) == (30, 30)


def test_a_model_that_sees_more_than_looks_beats_it() -> None:
    """Two answers that look the same: the floor must guess, the model knows."""
    found = measured(Tagged(60, "w2", "w3"), Tagged(30, "w2", "w3", tests=True), lead=1.0)
    assert found["accuracy"] == 1.0 and found["accuracy_floor"] == 0.5
    assert found["floor_difference_interval"][0] > 0


def test_a_model_that_is_always_wrong_and_one_that_cannot_tell() -> None:
    train, test = Tagged(60, "w2", "w3"), Tagged(30, "w2", "w3", tests=True)
    assert measured(train, test, lead=-1.0)["accuracy"] == 0.0
    assert measured(train, test, lead=0.0)["accuracy"] == 0.5


def test_without_held_out_pairs_nothing_is_claimed() -> None:
    found = measured(Tagged(20, "w2", "w3"), Tagged(0, "w2", "w3", tests=True), lead=1.0)
    assert found["accuracy"] is None and found["n"] == 0


def test_the_temperature_is_that_of_the_written_model() -> None:
    """Right three times in four, always by 2 log-odds: T = 2 / ln 3 there; scores of half the size need half of it."""
    test = Tagged(32, "w2", "w3", tests=True)
    rewards: Rewards = {group.id: [0.0, 2.0 if i % 4 else -2.0] for i, group in enumerate(test.groups)}
    train = Tagged(20, "w2", "w3")
    pairs, fit = pairs_of(test.groups, test.judgments), texts_of(train.groups, pairs_of(train.groups, train.judgments))
    raw, half = (measure(rewards, test.groups, pairs, fit, unit, seed=0) for unit in (1.0, 0.5))
    assert raw["best_temperature"] == half["best_temperature"] == pytest.approx(2 / math.log(3))
    assert raw["pair_temperature"] == pytest.approx(2 / math.log(3))
    assert half["pair_temperature"] == pytest.approx(1 / math.log(3))
    assert raw["ece"] == pytest.approx(1 / (1 + math.exp(-2)) - 0.75)
    assert raw["ece_calibrated"] < raw["ece"], "measured on the half of the subjects that set no temperature"


def test_without_a_best_temperature_the_scale_is_the_trained_one() -> None:
    found = measured(Tagged(60, "w2", "w3"), Tagged(30, "w2", "w3", tests=True), lead=1.0)
    assert found["best_temperature"] is None and found["pair_temperature"] == 1.0 and found["ece_calibrated"] is None


# Several models


def test_the_mean_of_members_and_where_they_disagree_by_hand() -> None:
    """Two members, three pairs: agreed and right; split, the mean right; split further, the mean wrong."""
    test = Tagged(3, "w2", "w3", tests=True)
    one, two, three = (group.id for group in test.groups)
    models: list[Rewards] = [
        {one: [0.0, 1.0], two: [0.0, 3.0], three: [0.0, 1.0]},
        {one: [0.0, 1.0], two: [0.0, 1.0], three: [0.0, -5.0]},
    ]
    assert combined(models) == {one: [0.0, 1.0], two: [0.0, 2.0], three: [0.0, -2.0]}
    found = disagreement(models, test.groups, pairs_of(test.groups, test.judgments), seed=0)
    assert found["disagreement"] == pytest.approx((0 + 0 + 0 + 1 + 0 + 3) / 6), "over answers, not pairs"
    assert (found["disagreement_right"], found["disagreement_wrong"]) == (0.5, 3.0)
    assert found["disagreement_auc"] == 1.0 and found["disagreement_gap_interval"] is None, "three subjects are too few"


def test_a_group_that_one_member_cannot_read_is_left_out() -> None:
    test = Tagged(2, "w2", "w3", tests=True)
    one, two = (group.id for group in test.groups)
    models: list[Rewards] = [{one: [0.0, 1.0], two: [0.0, 1.0]}, {one: [0.0, 1.0]}]
    assert combined(models).keys() == {one}
    assert disagreement(models, test.groups, pairs_of(test.groups, test.judgments), seed=0)["disagreement"] == 0.0


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
