"""Online DPO: pairs from scores, the gradient row by row, what makes no pair, where it starts, and that it learns."""

import math
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.console import log
from assent.core.errors import DataError, TrainingError
from assent.core.records import Answer
from assent.methods.online_dpo import PairExperience
from assent.train import loop
from assent.train.tracking import read_metrics


def words(answer: Answer) -> float:
    return float(len(answer.text.split()))


def test_it_starts_at_its_reference() -> None:
    """Before the first update: loss log 2, implicit rewards 0, and the pairs that the scores make."""
    method = made.online_dpo(minibatches=1, epochs=1, rule=words)
    (figures,) = made.one_iteration(method)
    assert figures["loss"] == pytest.approx(math.log(2), abs=1e-9)
    for name in ("chosen", "rejected", "margins"):
        assert figures[f"rewards/{name}"] == pytest.approx(0, abs=1e-9)
    seen = method.observe(0)
    assert seen["objective/kl"] == pytest.approx(0, abs=1e-9)
    rollout, k = method.last_rollout, 3
    leads = []
    for g, group in enumerate(rollout.groups):
        scores = [words(a) - (0.0 if a.finish == "stop" else 1.0) for a in group.answers]
        pairs = [
            scores[i] - scores[j]
            for i in range(k)
            for j in range(k)
            if scores[i] > scores[j] and rollout.tokens[g].answers[i] != rollout.tokens[g].answers[j]
        ]
        leads += [sum(pairs) / len(pairs)] if pairs else []
    assert leads and seen["objective/scores_margin"] == pytest.approx(sum(leads) / len(leads))
    assert seen["frac_reward_zero_std"] == pytest.approx(1 - len(leads) / len(rollout.groups))


@pytest.mark.parametrize("only", ["all", "ends"])
def test_the_gradient_is_that_of_pairs_passed_one_by_one(only: str) -> None:
    """Logits over the temperature, in every pass; against a reference that is somewhere else."""
    method = made.online_dpo(minibatches=1, answers=4, pairs=only, rule=words)
    batch = next(iter(method.batches(0)))
    other = tiny.perturbed(tiny.policy(), seed=1)
    method.policy.load_state_dict(other.state_dict())
    figures = loop.accumulate(method, batch, 10**6)
    found = [p.grad.clone() for p in method.policy.parameters()]
    method.policy.zero_grad()
    total, n = torch.zeros((), dtype=torch.float64), 0
    for group, scored in zip(method.last_rollout.tokens, method.last_rollout.groups, strict=True):
        scores = [words(a) - (0.0 if a.finish == "stop" else 1.0) for a in scored.answers]
        gains = []
        for answer in group.answers:
            sides = [tiny.alone(m, group.prompt_ids, answer, 0.9) for m in (method.policy, method.reference)]
            own, ref = (torch.stack([logp_TV[t, token] for t, token in enumerate(answer)]).sum() for logp_TV in sides)
            gains.append(own - ref.detach())
        pairs = [
            (i, j)
            for i in range(4)
            for j in range(4)
            if scores[i] > scores[j] and group.answers[i] != group.answers[j]
            if only == "all" or (scores[i] == max(scores) and scores[j] == min(scores))
        ]
        losses = [torch.log1p(torch.exp(-0.3 * (gains[i] - gains[j]))) for i, j in pairs]
        if losses:
            total, n = total + torch.stack(losses).mean(), n + 1
    (total / n).backward()
    assert n == len(batch.items) and figures["loss"] == pytest.approx(total.item() / n, abs=1e-11)
    for ours, parameter in zip(found, method.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=1e-11)


def test_answers_without_a_score_are_in_no_pair() -> None:
    """Every answer with an odd number of words has none."""
    method = made.online_dpo(rule=lambda a: None if words(a) % 2 else words(a), answers=4, no_eos_penalty=0.0)
    batch = next(iter(method.batches(0)))
    texts = {a.id: a.text for g in method.last_rollout.groups for a in g.answers}
    assert 0 < method.observe(0)["rewards/missing"] < 1
    for item in batch.items:
        assert isinstance(item, PairExperience)
        assert all(len(texts[i].split()) % 2 == 0 for i in item.group.answer_ids)


def test_all_equal_scores_teach_nothing_and_that_is_said_once(tmp_path: Path) -> None:
    method = made.online_dpo(torch.float32, rule=lambda answer: 1.0, no_eos_penalty=0.0, iterations=3)
    before = made.weights(method.policy)
    with log.capture() as said:
        loop.run(method, made.limits(), tmp_path, "online_dpo")
    assert made.equal(made.weights(method.policy), before)
    assert said.get().count("teaches nothing") == 1
    rows = read_metrics(tmp_path)
    assert [row["frac_reward_zero_std"] for row in rows] == [1.0] * 3 and "objective/scores_margin" not in rows[0]


@pytest.mark.parametrize("loss", ["dpo", "simpo"])
def test_a_policy_that_is_not_the_one_that_sampled_is_refused(loss: str) -> None:
    """As dropout left on would make it: the weights change between the sampling and the first update."""
    method = made.online_dpo(loss=loss)
    batches = iter(method.batches(0))
    batch = next(batches)
    method.policy.load_state_dict(tiny.perturbed(tiny.policy(), seed=1).state_dict())
    batch.result = loop.accumulate(method, batch, 10**6)
    with pytest.raises(TrainingError, match="before the first update the implicit rewards"):
        next(batches)


def test_a_loss_with_a_reference_needs_one_and_simpo_keeps_none() -> None:
    with pytest.raises(TrainingError, match="needs a reference"):
        given = made.online_dpo(loss="simpo")
        type(given)(given.generator, None, given.reward, given.prompts, made.online_dpo().config, 0)
    method = made.online_dpo(loss="simpo")
    results = made.one_iteration(method)
    assert results and method.reference is None and "objective/kl" not in method.observe(0)


def test_kto_measures_how_far_it_has_moved_on_other_prompts_answers() -> None:
    """Nowhere before the first update; from a policy that has moved, the mean gain on mismatched rows."""
    method = made.online_dpo(loss="kto", minibatches=1, epochs=1)
    assert made.one_iteration(method)[0]["kl"] == pytest.approx(0, abs=1e-9)
    method.policy.load_state_dict(tiny.perturbed(tiny.policy(), seed=1).state_dict())
    batch = next(iter(method.batches(1)))
    groups = method.last_rollout.tokens
    longest = max(len(g.prompt_ids) + max(map(len, g.answers)) for g in groups)
    gains = []
    for i, group in enumerate(groups):
        others = [groups[(i + n) % len(groups)] for n in range(1, len(groups))]
        fitting = [
            o
            for o in others
            if o.prompt_ids != group.prompt_ids and len(group.prompt_ids) + max(map(len, o.answers)) <= longest
        ]
        for answer in fitting[0].answers if fitting else ():
            own, ref = (tiny.alone(m, group.prompt_ids, answer, 0.9) for m in (method.policy, method.reference))
            gains.append(float(sum((own - ref)[t, token] for t, token in enumerate(answer)).detach()))
    expected = max(0.0, sum(gains) / len(gains))
    print(f"mean gain {sum(gains) / len(gains):.4f}")
    assert all(isinstance(i, PairExperience) and i.item.kl == pytest.approx(expected, abs=1e-9) for i in batch.items)


def test_kto_needs_a_second_prompt() -> None:
    method = made.online_dpo(loss="kto", prompts=1, minibatches=1, asked=1)
    with pytest.raises(DataError, match="only one prompt"):
        next(iter(method.batches(0)))


@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo", "kto"])
def test_it_learns(loss: str, tmp_path: Path) -> None:
    """More words with even numbers, from no example but its own answers."""
    settings = {"beta": 2.0} if loss == "simpo" else {"beta": 0.1}
    method = made.online_dpo(
        torch.float32, loss=loss, iterations=30, prompts=16, asked=16, answers=4, optimiser={"lr": 5e-3}, **settings
    )
    loop.run(method, made.limits(checkpoint_every=1000), tmp_path, "online_dpo")
    scores = [row["objective/scores"] for row in read_metrics(tmp_path)]
    print([round(s, 2) for s in scores])
    assert sum(scores[-5:]) / 5 > sum(scores[:5]) / 5 + 0.15
