"""DPO: one pass a group however many pairs it makes, a reference asked once, the figures, the warning."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import tiny_methods as made
from assent.config.preferences import PreferenceLoss
from assent.core.console import log
from assent.core.errors import DataError
from assent.data.collate import TokenGroup
from assent.engine import score
from assent.methods import dpo as module
from assent.methods.dpo import Dpo, implicit_leads, refer
from assent.methods.pairs import Pair, RankedItem
from assent.methods.preference import ReferredItem, mismatched
from assent.train import loop
from assent.train.method import Batch
from assent.train.tracking import read_metrics
from test_methods_reward import items, marked


def summed(model, group: TokenGroup) -> list[torch.Tensor]:
    """Oracle: log-prob of each answer by plain transformers, row by row."""
    found = []
    for answer in group.answers:
        logp_TV = tiny.alone(model, group.prompt_ids, answer)
        found.append(torch.stack([logp_TV[t, token] for t, token in enumerate(answer)]).sum())
    return found


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """beta 0.5. Answers gained 2, 0, -2 nats: rewards 1, 0, -1, three pairs of weight 1/3; a second judgment's pair."""
    method = made.dpo(beta=0.5)
    ranked = items(((0, 1, 1 / 3, 0.0), (0, 2, 1 / 3, 0.0), (1, 2, 1 / 3, 0.0)), ((1, 0, 1.0, 0.0),))
    ref_K = torch.tensor([-5.0, -6.0, -7.0], dtype=torch.float64)
    given = [ReferredItem(item, ref_K) for item in ranked]
    logp_N = torch.tensor([-3, -6, -9, -5, -6, -1], dtype=torch.float64, requires_grad=True)
    mask_NT = torch.tensor([[True, False]] * 6)
    logp_NT = torch.stack([logp_N, torch.full_like(logp_N, 99.0)], dim=1)  # what stands in the padding is not read
    said = type("Scores", (), {"logp_NT": logp_NT, "mask_NT": mask_NT})
    monkeypatch.setattr(module, "score", lambda model, groups: said)
    objective = method.loss(given)

    def pay(lead: float) -> float:
        return math.log(1 + math.exp(-lead))

    assert objective.total.item() == pytest.approx((pay(1) + pay(2) + pay(1)) / 3 + pay(0))
    assert objective.weight == pytest.approx(2)
    mean = {name: float(total) / count for name, (total, count) in objective.metrics.items()}
    assert mean["rewards/chosen"] == pytest.approx(((1 + 1 + 0) / 3 + 0) / 2)
    assert mean["rewards/rejected"] == pytest.approx(((0 - 1 - 1) / 3 + 0) / 2)
    assert mean["rewards/margins"] == pytest.approx(((1 + 2 + 1) / 3 + 0) / 2)
    assert mean["rewards/accuracies"] == pytest.approx((1 + 0.5) / 2)  # a tie is half right
    assert mean["logps/chosen"] == pytest.approx(((-3 - 3 - 6) / 3 - 6) / 2)
    assert mean["logps/rejected"] == pytest.approx(((-6 - 9 - 9) / 3 - 5) / 2)


def test_at_the_start_nothing_is_preferred() -> None:
    """The policy is its own reference: loss log 2, rewards 0; the reference's sums are those of each row alone."""
    method = made.dpo()
    figures = loop.accumulate(method, next(iter(method.batches(0))), 10**6)
    assert figures["loss"] == pytest.approx(math.log(2), abs=1e-12)
    for name in ("chosen", "rejected", "margins"):
        assert figures[f"rewards/{name}"] == pytest.approx(0, abs=1e-11)
    with torch.no_grad():
        for item in method.items:
            expected = torch.stack(summed(method.policy, item.group))
            torch.testing.assert_close(item.ref_logp_K, expected, rtol=0, atol=1e-11)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


Numbers = tuple[torch.Tensor, int]
"""What an answer gained on the reference (of simpo: its log-prob), and its tokens."""
SLOW: dict[str, tuple[dict[str, object], Callable[[Numbers, Numbers, float], torch.Tensor]]] = {
    "dpo": ({"beta": 0.3}, lambda w, l, _: -sigmoid(0.3 * (w[0] - l[0])).log()),
    "cdpo": (
        {"loss": "cdpo", "beta": 0.3, "label_smoothing": 0.2},
        lambda w, l, _: -0.8 * sigmoid(0.3 * (w[0] - l[0])).log() - 0.2 * sigmoid(0.3 * (l[0] - w[0])).log(),
    ),
    "robust": (
        {"loss": "robust", "beta": 0.3, "label_smoothing": 0.2},
        lambda w, l, _: (-0.8 * sigmoid(0.3 * (w[0] - l[0])).log() + 0.2 * sigmoid(0.3 * (l[0] - w[0])).log()) / 0.6,
    ),
    "ipo": ({"loss": "ipo", "beta": 0.3}, lambda w, l, _: (w[0] / w[1] - l[0] / l[1] - 1 / 0.6) ** 2),
    "hinge": ({"loss": "hinge", "beta": 0.3}, lambda w, l, _: torch.relu(1 - 0.3 * (w[0] - l[0]))),
    "simpo": (
        {"loss": "simpo", "beta": 2.0, "gamma": 0.7},
        lambda w, l, _: -sigmoid(2.0 * w[0] / w[1] - 2.0 * l[0] / l[1] - 0.7).log(),
    ),
    "kto": (
        {"loss": "kto", "beta": 0.3, "desirable_weight": 1.5},
        lambda w, l, z: (1.5 * (1 - sigmoid(0.3 * (w[0] - z))) + (1 - sigmoid(0.3 * (z - l[0])))) / 2,
    ),
}


@pytest.mark.parametrize("loss", SLOW)
def test_the_gradient_is_that_of_pairs_passed_one_by_one(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six pairs of four answers cost four rows: the same gradient as every pair with its own two rows.

    Some labels are soft: p of the loss and 1 - p of the one with the answers swapped.
    """
    told, slow = SLOW[loss]
    seen = tiny.perturbed(tiny.policy(), seed=1)
    given = [softened(item) for item in made.ranked(12)] if loss != "kto" else None
    method = made.dpo(reference=seen, told=told, items=given, batch=12)
    batch = next(iter(method.batches(0)))
    assert any(len(item.ranked.pairs) == 6 for item in batch.items)
    passed: list[int] = []

    def counted(model, groups):
        passed.append(sum(len(group.answers) for group in groups))
        return score(model, groups)

    monkeypatch.setattr(module, "score", counted)
    figures = loop.accumulate(method, batch, 10**6)
    assert sum(passed) == sum(len(item.group.answers) for item in batch.items)
    found = [p.grad.clone() for p in method.policy.parameters()]
    method.policy.zero_grad()
    total = 0.0
    for item in batch.items:
        own, before = summed(method.policy, item.group), summed(seen, item.group)
        for w, l, weight, _, prob in item.ranked.pairs:
            one, other = (
                (own[i] - (0 if loss == "simpo" else before[i].detach()), len(item.group.answers[i])) for i in (w, l)
            )
            mixed = prob * slow(one, other, item.kl) + (1 - prob) * slow(other, one, item.kl)
            (mixed * weight / batch.weight).backward(retain_graph=True)
            total += mixed.item() * weight / batch.weight
    assert figures["loss"] == pytest.approx(total, abs=1e-11)
    for ours, parameter in zip(found, method.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=1e-11)


def softened(item: RankedItem) -> RankedItem:
    """Every second pair with a label of 0.7, its weight doubled."""
    return RankedItem(
        item.group, tuple(p._replace(prob=0.7, weight=2 * p.weight) if i % 2 else p for i, p in enumerate(item.pairs))
    )


# KTO's reference point


def test_prompts_meet_the_answers_to_other_prompts() -> None:
    """Equal prompts are passed over, and rows longer than any there is are not made."""

    def group(prompt: tuple[int, ...], *answers: tuple[int, ...]) -> TokenGroup:
        return TokenGroup(str(prompt), prompt, answers, tuple("ab"[: len(answers)]))

    short, again, long = group((6,), (7,), (8, 9)), group((6,), (9,)), group((7, 8, 9), (10,), (11,))
    found = mismatched([short, again, long])  # the longest row has 4 tokens
    assert {i: (g.prompt_ids, g.answers) for i, g in found.items()} == {
        0: ((6,), long.answers),
        1: ((6,), long.answers),
        2: ((7, 8, 9), again.answers),  # those of the first would need 5
    }
    with pytest.raises(DataError, match="only one prompt"):
        mismatched([short, again])


def test_the_reference_point_of_a_batch_is_that_of_rows_passed_one_by_one() -> None:
    """The mean gain over mismatched rows, the policy being somewhere else than its reference; never less than 0."""
    seen = tiny.perturbed(tiny.policy(), seed=1)
    points = []
    for policy, reference in ((tiny.policy(), seen), (seen, tiny.policy())):
        method = made.dpo(reference=reference, told={"loss": "kto"}, batch=5)
        method.policy.load_state_dict(policy.state_dict())
        batch = next(iter(method.batches(0)))
        rows = mismatched([item.group for item in method.items])
        place = {id(item.ranked): i for i, item in enumerate(method.items)}
        chosen = [rows[place[id(item.ranked)]] for item in batch.items]
        gains = torch.stack(
            [a - b for row in chosen for a, b in zip(summed(policy, row), summed(reference, row), strict=True)]
        )
        points.append(gains.detach().mean().item())
        (kl,) = {item.kl for item in batch.items}
        assert kl == pytest.approx(max(0.0, points[-1]), abs=1e-11)
        assert loop.accumulate(method, batch, 10**6)["kl"] == pytest.approx(max(0.0, points[-1]), abs=1e-11)
    assert min(points) < 0 < max(points), "one of the two must be cut at 0"


def test_simpo_asks_no_reference() -> None:
    class Never:
        def __getattr__(self, name: str) -> None:
            raise AssertionError("asked")

    method = made.dpo(reference=Never(), told={"loss": "simpo", "beta": 2.0})
    loop.accumulate(method, next(iter(method.batches(0))), 10**6)
    assert all(item.ref_logp_K is None for item in method.items)


def test_a_tie_counts_in_the_loss_and_not_in_the_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards 1 and -1: the decided pair is wrong; the tie, of the same weight, pays for the lead either way."""
    group = TokenGroup("g", (6,), ((7,), (8,)), ("a", "b"))
    item = ReferredItem(RankedItem(group, (Pair(1, 0, 0.5), Pair(0, 1, 0.5, 0.0, 0.5))), torch.zeros(2).double())
    method = made.dpo(beta=0.5)
    said = type("Scores", (), {"logp_NT": torch.tensor([[2.0], [-2.0]]).double(), "mask_NT": torch.ones(2, 1).bool()})
    monkeypatch.setattr(module, "score", lambda model, groups: said)
    objective = method.loss([item])
    pay, gain = math.log(1 + math.exp(2)), math.log(1 + math.exp(-2))
    assert objective.total.item() == pytest.approx(0.5 * pay + 0.5 * (pay + gain) / 2)
    total, weight = objective.metrics["rewards/accuracies"]
    assert float(total) == 0 and weight == pytest.approx(0.5)


def test_a_step_raises_the_winner_against_the_loser() -> None:
    method = made.dpo(lr=1e-3, steps=1, batch=12)
    before = method.items
    assert not implicit_leads(method.policy, before, method.settings, 10**6).abs().gt(1e-6).any()
    optimisers = {"policy": torch.optim.SGD(method.policy.parameters(), lr=1e-3)}
    loop.update(method, optimisers, next(iter(method.batches(0))), 10**6)
    weight_P = torch.tensor([pair[2] for item in before for pair in item.ranked.pairs])
    lead_P = implicit_leads(method.policy, before, method.settings, 10**6)
    assert (lead_P * weight_P).sum() > 1e-3


def test_the_reference_stays_where_it_was(tmp_path: Path) -> None:
    """Built on the policy itself, trained, built again on the same start: the same sums, bit for bit."""
    method = made.dpo(torch.float32)
    start = [item.ref_logp_K.clone() for item in method.items]
    loop.run(method, made.limits(), tmp_path, "dpo")
    assert all(item.ref_logp_K.equal(was) for item, was in zip(method.items, start, strict=True))
    again = made.dpo(torch.float32)
    assert all(item.ref_logp_K.equal(was) for item, was in zip(again.items, start, strict=True))
    now = refer(method.policy, [item.ranked for item in method.items], method.settings, 10**6)
    assert any(not item.ref_logp_K.equal(was) for item, was in zip(now, start, strict=True))


LEARNERS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.3},
    "cdpo": {"loss": "cdpo", "beta": 0.3},
    "robust": {"loss": "robust", "beta": 0.3},
    "ipo": {"loss": "ipo", "beta": 0.3},
    "hinge": {"loss": "hinge", "beta": 0.3},
    "simpo": {"loss": "simpo", "beta": 2.0},
    "kto": {"loss": "kto", "beta": 0.3},
}


@pytest.mark.parametrize("loss", LEARNERS)
def test_it_learns_a_rule_and_prefers_answers_it_has_not_seen(loss: str, tmp_path: Path) -> None:
    policy = tiny.policy(dtype=torch.float32)
    settings = PreferenceLoss(**LEARNERS[loss])
    how = {"settings": settings, "batch": 16, "steps": 40, "seed": 0, "token_budget": 10**6}
    # Without a reference the policy's own taste is part of the reward, and has to be unlearned first.
    rate = 2e-2 if loss == "simpo" else 3e-3
    method = Dpo(policy, policy, marked(160, 1), made.OPTIMISER.model_copy(update={"lr": rate}), **how)
    test = refer(policy, marked(80, 2), settings, 10**6)
    loop.run(method, made.limits(checkpoint_every=100), tmp_path, "dpo")
    rows = read_metrics(tmp_path)
    if loss == "dpo":
        assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert rows[-1]["rewards/accuracies"] > 0.9 and rows[-1]["epoch"] == pytest.approx(40 * 16 / 160)
    lead_P = implicit_leads(policy, test, settings, 10**6)
    assert float((lead_P > 0).float().mean()) > 0.85


def warned(method: Dpo, start: tuple[float, float], now: tuple[float, float]) -> str:
    """What is said of a batch whose preferred and other answers had, on the reference, and have these log-probs."""
    group = TokenGroup("g", (6,), ((7, 8, 9), (8,)), ("a", "b"))
    method.items = [ReferredItem(RankedItem(group, (Pair(0, 1, 1.0),)), torch.tensor(start))] * 3
    batch = next(batches := iter(method.batches(0)))
    batch.result = {"logps/chosen": now[0], "logps/rejected": now[1], "rewards/chosen": 0.0, "rewards/rejected": 0.0}
    with log.capture() as said:
        assert next(batches, None) is None
    return " ".join(said.get().split())


@pytest.mark.parametrize("loss", ["dpo", "ipo", "hinge"])
def test_both_answers_less_likely_is_said_once(loss: str) -> None:
    """8 and 20 nats below a start of -30 each, whatever the loss makes of them."""
    both = ((-30.0, -30.0), (-38.0, -50.0))
    method = made.dpo(beta=0.5, told={"loss": loss})
    said = warned(method, *both)
    assert "the preferred one by 8.0 nats, the other by 20.0" in said and "A larger beta, a lower rate or" in said
    assert warned(method, *both) == ""
    resumed = made.dpo(beta=0.5, told={"loss": loss})
    resumed.load_state(method.state())
    assert warned(resumed, *both) == ""


@pytest.mark.parametrize(
    ("start", "now"),
    [
        ((-30, -30), (-28, -50)),  # the winner rose
        ((-30, -30), (-38, -28)),
        ((-30, -30), (-32, -32)),  # 2 nats of 30
        ((-1.0, -1.0), (-1.8, -5)),  # under a nat
    ],
)
def test_less_is_not(start: tuple[float, float], now: tuple[float, float]) -> None:
    assert warned(made.dpo(beta=0.5), start, now) == ""


def test_simpo_is_watched_on_its_first_batch() -> None:
    """Without a reference: what the first batch's answers had at first, against what they have ten times a run."""
    method = made.dpo(told={"loss": "simpo", "beta": 2.0}, steps=30)
    first, _ = shown(method, 0)
    assert method.state()["start"] == {name: first[f"logps/{name}"] for name in ("chosen", "rejected")}
    with torch.no_grad():
        method.policy.lm_head.weight.mul_(3)  # surer of everything, and mostly wrong
    again = made.dpo(told={"loss": "simpo", "beta": 2.0}, steps=30)
    again.policy.load_state_dict(method.policy.state_dict())
    falls = {name: first[f"logps/{name}"] - shown(again, 0)[0][f"logps/{name}"] for name in ("chosen", "rejected")}
    assert min(falls.values()) > 2
    assert shown(method, 1)[1] == "", "not a step in which one looks"
    said = shown(method, 3)[1]
    assert f"the preferred one by {falls['chosen']:.1f} nats, the other by {falls['rejected']:.1f}" in said
    assert "beta" not in said and shown(method, 6)[1] == ""


def shown(method: Dpo, step: int) -> tuple[dict[str, float], str]:
    """Figures of a step's batch without learning from it, and what is said of it."""
    batch = next(batches := iter(method.batches(step)))
    batch.result = loop.accumulate(method, batch, 10**6)
    with log.capture() as said:
        assert next(batches, None) is None
    return batch.result, " ".join(said.get().split())


def test_a_ranking_weighs_as_much_as_a_pair() -> None:
    method = made.dpo(reference=tiny.perturbed(tiny.policy(), seed=1))
    (four,) = [i for i in method.items if len(i.group.answers) == 4][:1]
    (two,) = [i for i in method.items if len(i.group.answers) == 2][:1]
    alone = [loop.accumulate(method, Batch([item], 1.0), 10**6)["loss"] for item in (four, two)]
    assert loop.accumulate(method, Batch([four, two], 2.0), 10**6)["loss"] == pytest.approx(sum(alone) / 2)
    assert isinstance(four.ranked, RankedItem) and four.ranked.weight == pytest.approx(1)
