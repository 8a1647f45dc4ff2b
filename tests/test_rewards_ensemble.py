"""Several reward models as one score: by hand, their limits, and what their disagreement stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.config.rewards import Combine
from assent.core.errors import ModelError
from assent.core.records import Group
from assent.methods.ppo import Ppo
from assent.models.load import load_reward_model, save
from assent.rewards.ensemble import EnsembleReward, load_scorer
from assent.rewards.model import ModelReward
from assent.rewards.total import TotalReward
from assent.train import loop
from assent.train.tracking import read_metrics

FIRST, SECOND = tiny.prompts(2)
GROUPS = [tiny.group(FIRST, "w1", "w2"), tiny.group(SECOND, "w3")]


class Fixed:
    """A scorer with given values."""

    def __init__(self, *values: list[float | None]) -> None:
        self.values = list(values)

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        return self.values


def ensemble(**how: object) -> EnsembleReward:
    """Three members: 1, 3, 5 on the first answer; 2, 2, 8; 0, 4, 2."""
    members = [Fixed([1.0, 2.0], [0.0]), Fixed([3.0, 2.0], [4.0]), Fixed([5.0, 8.0], [2.0])]
    return EnsembleReward(members, Combine.model_validate(how))


NARROW, WIDE = math.sqrt(8 / 3), math.sqrt(8)
"""Deviations of 1, 3, 5 (and of 0, 4, 2), and of 2, 2, 8."""


def test_mean_least_and_lower_by_hand() -> None:
    assert ensemble().score(GROUPS) == [[3.0, 4.0], [2.0]]
    assert ensemble(how="min").score(GROUPS) == [[1.0, 2.0], [0.0]]
    lower = ensemble(how="lower", k=0.5).score(GROUPS)
    assert lower[0] == pytest.approx([3 - NARROW / 2, 4 - WIDE / 2]) and lower[1] == pytest.approx([2 - NARROW / 2])


def test_disagreement_is_the_deviation_and_is_known_answer_by_answer() -> None:
    scorer = ensemble()
    assert scorer.disagreement is None
    scorer.score(GROUPS)
    assert scorer.disagreement == pytest.approx((2 * NARROW + WIDE) / 3)
    first, second = scorer.disagreements(GROUPS)
    assert first == pytest.approx([NARROW, WIDE]) and second == pytest.approx([NARROW])
    assert scorer.by_member(GROUPS)[1] == [[3.0, 2.0], [4.0]]


def test_limits() -> None:
    """k = 0 is the mean; of two members, one deviation below the mean is the lesser; one mind has no doubt."""
    assert ensemble(how="lower", k=0.0).score(GROUPS) == ensemble().score(GROUPS)
    two = [Fixed([1.5, -2.0], [0.25]), Fixed([-0.5, 3.0], [0.25])]
    lower, least = (EnsembleReward(two, Combine(how=how)) for how in ("lower", "min"))  # type: ignore[arg-type]
    assert [pytest.approx(row) for row in lower.score(GROUPS)] == least.score(GROUPS)
    same = EnsembleReward([two[0]] * 3, Combine(how="lower", k=5.0))
    assert same.score(GROUPS) == two[0].values and same.disagreement == 0.0


def test_the_order_of_members_does_not_matter() -> None:
    for how in ("mean", "min", "lower"):
        scorer = ensemble(how=how)
        turned = EnsembleReward(scorer.members[::-1], scorer.combine)
        assert turned.score(GROUPS) == scorer.score(GROUPS)


def test_what_one_member_cannot_read_has_no_score() -> None:
    scorer = EnsembleReward([Fixed([1.0, None], [2.0]), Fixed([3.0, 4.0], [2.0])], Combine())
    assert scorer.score(GROUPS) == [[2.0, None], [2.0]]
    assert scorer.disagreement == pytest.approx((1.0 + 0.0) / 2), "over the answers that all can read"
    silent = EnsembleReward([Fixed([None, None], [None]), Fixed([1.0, 1.0], [1.0])], Combine())
    assert silent.score(GROUPS) == [[None, None], [None]] and silent.disagreement is None


# In the sum of rewards


def test_disagreement_has_its_curve_and_the_largest_counts() -> None:
    calm = EnsembleReward([Fixed([0.0, 0.0], [0.0]), Fixed([1.0, 1.0], [1.0])], Combine())
    total = TotalReward([("calm", calm, 1.0), ("wild", ensemble(), 1.0), ("f", Fixed([0.0, 0.0], [0.0]), 1.0)])
    assert total.disagreement is None and "rewards/disagreement" not in total.figures()
    total.score(GROUPS)
    assert total.figures()["rewards/disagreement"] == pytest.approx((2 * NARROW + WIDE) / 3)
    alone = TotalReward([("f", Fixed([0.0, 0.0], [0.0]), 1.0)])
    alone.score(GROUPS)
    assert "rewards/disagreement" not in alone.figures() and not alone.distrusted


def test_the_limit_must_be_exceeded() -> None:
    def distrusted(stop_above: float | None) -> bool:
        scorer = EnsembleReward([Fixed([0.0, 0.0], [0.0]), Fixed([1.0, 1.0], [1.0])], Combine(stop_above=stop_above))
        total = TotalReward([("e", scorer, 1.0)])
        assert not total.distrusted, "nothing has been scored yet"
        total.score(GROUPS)
        return total.distrusted

    assert [distrusted(limit) for limit in (None, 0.6, 0.5, 0.4)] == [False, False, False, True]


class Turning:
    """A member that agrees with the rule up to its third batch, and from then on calls the opposite good."""

    def __init__(self) -> None:
        self.batches = 0

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        self.batches += 1
        sign = 1.0 if self.batches < 3 else -1.0
        return [[sign * made.even_words(answer) + (sign < 0) for answer in group.answers] for group in groups]


def distrustful(seed: int = 3) -> Ppo:
    """PPO over ten iterations whose reward models part ways in the third."""
    method = made.ppo(torch.float32, seed=seed)
    members = [made.ByRule(made.even_words), Turning()]
    method.reward = TotalReward([("e", EnsembleReward(members, Combine(stop_above=0.2)), 1.0)])
    return method


def test_disagreement_ends_training_and_a_finished_run_stays_finished(tmp_path: Path) -> None:
    method = distrustful()
    loop.run(method, made.limits(), tmp_path, "ppo")
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["rewards/disagreement"] > 0.2 for row in rows] == [False, False, True]
    kept = made.weights(method.policy)
    again = distrustful()
    loop.run(again, made.limits(), tmp_path, "ppo")
    assert read_metrics(tmp_path) == rows, "nothing is left to do"
    assert made.equal(made.weights(again.policy), kept)


# Files


def test_a_folder_of_members_and_a_plain_one(tmp_path: Path) -> None:
    models = [tiny.reward_model(seed=seed, dtype=torch.float32) for seed in (1, 2)]
    for i, model in enumerate(models, 1):
        model.config.pair_temperature = 0.5 * i
        save(tmp_path / "both" / f"member-{i}", model, tiny.tokenizer(), "")
    both = load_scorer("both", tmp_path / "both")
    assert isinstance(both, EnsembleReward)
    own = [ModelReward("m", model, tiny.tokenizer()).score(GROUPS) for model in models]
    for g, row in enumerate(both.score(GROUPS)):
        assert row == pytest.approx([(a + b) / 2 for a, b in zip(own[0][g], own[1][g], strict=True)], abs=1e-5)
    one = load_scorer("one", tmp_path / "both" / "member-2")
    assert isinstance(one, ModelReward) and one.temperature == 1.0 and both.members[0].temperature == 0.5
    with pytest.raises(ModelError, match=r"ensemble of 2 reward models.*(\n.*)*member-1"):
        load_reward_model(tmp_path / "both")


def test_ten_members_keep_their_order(tmp_path: Path) -> None:
    for i in (10, 2, 1):
        save(tmp_path / f"member-{i}", tiny.reward_model(shift=float(i), dtype=torch.float32), tiny.tokenizer(), "")
    found = load_scorer("e", tmp_path)
    assert isinstance(found, EnsembleReward)
    assert [member.model.config.reward_shift for member in found.members] == [1.0, 2.0, 10.0]


def test_the_same_group_twice_is_scored_twice() -> None:
    scorer = EnsembleReward([made.ByRule(made.even_words), made.ByRule(lambda answer: len(answer.text))], Combine())
    first, second = scorer.score([GROUPS[0], GROUPS[0]])
    assert first == second and first[0] != first[1]
