"""Reward modelling: all pairs of a ranking in one pass, each judgment with weight 1."""

import math
import random
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.data.collate import TokenGroup
from assent.engine import score, score_all
from assent.methods.pairs import Pair, RankedItem
from assent.methods.reward import Reward
from assent.train import loop
from assent.train.method import Batch
from assent.train.tracking import read_metrics


def with_rewards(method: Reward, values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model say these numbers for the answers it is asked about, in order."""
    reward_N = torch.tensor(values, dtype=torch.float64, requires_grad=True)

    def said(model, groups):
        return type("Scores", (), {"reward_N": reward_N})

    monkeypatch.setattr("assent.methods.reward.score", said)


def items(*pairs: tuple[tuple[int, int, float, float], ...], answers: int = 3) -> list[RankedItem]:
    group = TokenGroup("g", (6,), ((7,),) * answers, tuple(f"a{i}" for i in range(answers)))
    return [RankedItem(group, tuple(Pair(*one) for one in p)) for p in pairs]


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards 2, 1, 0: three pairs of weight 1/3, one with margin 1; then a second judgment's two answers."""
    method = made.reward(centre=0.1)
    given = items(((0, 1, 1 / 3, 0.0), (0, 2, 1 / 3, 1.0), (1, 2, 1 / 3, 0.0)), ((1, 0, 1.0, 0.0),))
    with_rewards(method, [2.0, 1.0, 0.0, 4.0, 4.0, 9.0], monkeypatch)
    objective = method.loss(given)

    def pay(lead: float, total: float) -> float:
        return math.log(1 + math.exp(-lead)) + 0.1 * total**2

    expected = (pay(1, 3) + pay(2 - 1, 2) + pay(1, 1)) / 3 + pay(0, 8)
    assert objective.total.item() == pytest.approx(expected)
    assert objective.weight == pytest.approx(2)  # judgments
    total, weight = objective.metrics["accuracy"]
    assert float(total) == pytest.approx(1 + 0.5) and weight == pytest.approx(2)  # a tie is half right
    total, _ = objective.metrics["margin"]
    assert float(total) == pytest.approx((1 + 2 + 1) / 3 + 0)
    total, n = objective.metrics["mean_reward"]
    assert float(total) == 20 and n == 6


def test_a_huge_lead_overflows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made.reward(centre=0.0)
    with_rewards(method, [-500.0, 500.0, 0.0], monkeypatch)
    total = method.loss(items(((0, 1, 1.0, 0.0),))).total
    assert total.item() == pytest.approx(1000)


def test_a_ranking_weighs_as_much_as_a_pair() -> None:
    """Six pairs of one judgment and one pair of another: equal weights, the loss over two judgments."""
    ranked = made.ranked(6)
    (four,) = [item for item in ranked if len(item.group.answers) == 4][:1]
    (two,) = [item for item in ranked if len(item.group.answers) == 2][:1]
    assert four.weight == pytest.approx(1) and two.weight == pytest.approx(1) and len(four.pairs) == 6
    method = made.reward()
    figures = loop.accumulate(method, Batch([four, two], 2.0), 10**6)
    alone = [loop.accumulate(method, Batch([item], 1.0), 10**6)["loss"] for item in (four, two)]
    assert figures["loss"] == pytest.approx(sum(alone) / 2)


def test_the_gradient_is_that_of_pairs_passed_one_by_one() -> None:
    """InstructGPT's saving changes nothing: K answers once, or every pair with its own two passes."""
    method = made.reward(centre=0.01)
    batch = next(iter(method.batches(0)))
    loop.accumulate(method, batch, 10**6)
    found = [p.grad.clone() for p in method.model.parameters()]
    method.model.zero_grad()
    for item in batch.items:
        for w, l, weight, margin, _ in item.pairs:
            r_w, r_l = (
                score(
                    method.model, [TokenGroup("g", item.group.prompt_ids, (item.group.answers[i],), ("a",))]
                ).reward_N[0]
                for i in (w, l)
            )
            loss = torch.log1p(torch.exp(-(r_w - r_l - margin))) + 0.01 * (r_w + r_l) ** 2
            (loss * weight / batch.weight).backward()
    for ours, parameter in zip(found, method.model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=1e-6)  # Llama's norms are fp32


def marked(n: int, seed: int) -> list[RankedItem]:
    """Two answers to a prompt; the better one holds token 30, wherever."""
    draw, found = random.Random(seed), []
    for group in tiny.groups(n, seed=seed, answers=1):
        ids = [i for i in group.answers[0] if i != 30]
        at = draw.randint(0, len(ids))
        swapped = draw.random() < 0.5
        pair = [(*ids[:at], 30, *ids[at:]), (*ids[:at], draw.randrange(6, 30), *ids[at:])]
        answers = tuple(pair[::-1] if swapped else pair)
        made_of = TokenGroup(group.group_id, group.prompt_ids, answers, ("a", "b"))
        found.append(RankedItem(made_of, (Pair(int(swapped), int(not swapped), 1.0),)))
    return found


def test_it_learns_a_rule_and_ranks_answers_it_has_not_seen(tmp_path: Path) -> None:
    model = tiny.reward_model(dtype=torch.float32)
    optimiser = made.OPTIMISER.model_copy(update={"lr": 1e-2})
    method = Reward(model, marked(160, 1), optimiser, centre=0.0, batch=16, steps=50, seed=0)
    loop.run(method, made.limits(checkpoint_every=100), tmp_path, "reward")
    rows = read_metrics(tmp_path)
    assert rows[-1]["accuracy"] > 0.9 and rows[-1]["epoch"] == pytest.approx(50 * 16 / 160)
    test = marked(80, 2)
    reward_N = score_all(model, [item.group for item in test], 10**6).reward_N
    right = [float(reward_N[2 * n + w] > reward_N[2 * n + l]) for n, item in enumerate(test) for w, l, *_ in item.pairs]
    assert sum(right) / len(right) > 0.85, sum(right) / len(right)
