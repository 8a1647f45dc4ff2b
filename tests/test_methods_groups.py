"""What grpo and rloo share: whose score counts, KL in the score, further prompts, rewards that say nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.console import log
from assent.core.errors import TrainingError
from assent.core.records import Answer, Group
from assent.core.seeds import order
from assent.methods.grpo import Grpo
from assent.methods.rloo import Rloo
from assent.rewards.total import TotalReward
from assent.train import loop
from assent.train.method import Batch

each_method = pytest.mark.parametrize("build", [made.grpo, made.rloo], ids=["grpo", "rloo"])


def batch_of(method: Grpo | Rloo, step: int = 0) -> Batch:
    return next(iter(method.batches(step)))


def by_group(method: Grpo | Rloo, step: int = 0) -> list[tuple[Group, dict[str, torch.Tensor]]]:
    """Each group of one iteration with its table."""
    items = {item.group.group_id: item.table for item in batch_of(method, step).items}
    return [(group, items[group.id]) for group in method.last_rollout.groups]


# Whose score counts


def test_truncated_answers_are_out_of_their_group_and_of_the_loss() -> None:
    """Against the same group without them, in advantages and in the loss's denominator."""
    method = made.grpo(truncated="mask", minibatches=1, prompts=8, answers=4, aggregation="sequence")
    seen = 0
    batch = batch_of(method)
    tables = {item.group.group_id: item.table for item in batch.items}
    for group in method.last_rollout.groups:
        table, ended = tables[group.id], [a for a in group.answers if a.finish == "stop"]
        scores = [made.even_words(a) for a in ended]
        spread = len(ended) > 1 and max(scores) - min(scores) > 1e-6
        seen += spread and len(ended) < len(group.answers)
        for k, answer in enumerate(group.answers):
            counts = answer.finish == "stop"
            assert table["mask"][k].sum() == (len(answer.token_ids) if counts else 0)
            lead = 0.0
            if counts and spread:
                lead = (made.even_words(answer) - statistics.fmean(scores)) / (statistics.stdev(scores) + 1e-4)
            assert float(table["advantage"][k, 0]) == pytest.approx(lead, abs=1e-9)
    assert seen >= 2
    assert batch.weight == sum(a.finish == "stop" for g in method.last_rollout.groups for a in g.answers)
    figures = method.observe(0)
    assert 0 < figures["completions/clipped_ratio"] < 1, "the figures are of all answers"


def test_what_is_masked_has_no_gradient() -> None:
    """The gradient is that of the other answers alone: a tenfold advantage on what is masked changes nothing."""
    method = made.grpo(truncated="mask", minibatches=1)
    batch = batch_of(method)
    found = []
    for factor in (1.0, 10.0):
        for item in batch.items:
            item.table["advantage"] = torch.where(item.table["mask"], item.table["advantage"], factor)
        method.policy.zero_grad()
        loop.accumulate(method, batch, 10**6)
        found.append([p.grad.clone() for p in method.policy.parameters()])
    assert made.equal(*found) and any(g.abs().max() > 1e-3 for g in found[0])


def test_where_no_answer_stops_nothing_is_learned_and_it_is_said() -> None:
    method = made.grpo(truncated="mask", sampling={"max_tokens": 1})
    method.generator._stop = frozenset()  # nothing ends an answer
    with log.capture() as said:
        assert list(method.batches(0)) == []
    assert "no answer stops by itself" in " ".join(said.get().split())
    assert method.observe(0)["frac_reward_zero_std"] == 1


@each_method
def test_too_long_answers_lose_score_before_they_are_compared(build: Callable[..., Grpo | Rloo]) -> None:
    """Of 6 tokens the last 4 cost a quarter each; no_eos_penalty comes on top."""
    method = build(overlong=4, no_eos_penalty=0.5, minibatches=1, kl={"coef": 0.0}, **GROUP_NONE[build])
    penalties, lost = [], []
    for group, table in by_group(method):
        taken = [max(0, len(a.token_ids) - 2) / 4 for a in group.answers]
        ends = [0.5 * (a.finish != "stop") for a in group.answers]
        scores = [made.even_words(a) - p - e for a, p, e in zip(group.answers, taken, ends, strict=True)]
        lead = [s - statistics.fmean(scores) for s in scores]
        factor = 3 / 2 if build is made.rloo else 1.0
        assert table["advantage"][:, 0].tolist() == pytest.approx([factor * x for x in lead], abs=1e-9)
        penalties += taken
        lost += ends
    assert method.observe(0)["overlong/penalty"] == pytest.approx(statistics.fmean(penalties))
    assert len(set(penalties)) > 2 and any(lost)


GROUP_NONE = {made.grpo: {"scale": "none"}, made.rloo: {}}


@pytest.mark.parametrize("scale", ["batch", "none"])
def test_the_scale_by_a_slow_loop(scale: str) -> None:
    method = made.grpo(scale=scale, minibatches=1, no_eos_penalty=0.5)
    tables = by_group(method)
    scores = [[made.even_words(a) - 0.5 * (a.finish != "stop") for a in group.answers] for group, _ in tables]
    std = statistics.stdev([s for row in scores for s in row]) + 1e-4 if scale == "batch" else 1.0
    for row, (_, table) in zip(scores, tables, strict=True):
        expected = [(s - statistics.fmean(row)) / std for s in row]
        assert table["advantage"][:, 0].tolist() == pytest.approx(expected, abs=1e-9)
    spreads = [statistics.stdev(row) for row in scores]
    assert method.observe(0)["objective/group_std"] == pytest.approx(statistics.fmean(spreads)) and min(spreads) > 0


# KL in the score


@each_method
def test_kl_is_taken_from_the_score_before_it_is_compared(build: Callable[..., Grpo | Rloo]) -> None:
    """coef x (logp - ref_logp), summed over the answer by plain transformers; none of it is in the loss."""
    policy, reference = tiny.perturbed(tiny.policy(), seed=1, size=0.1), tiny.policy()
    kl = {"coef": 0.7, "place": "reward"} if build is made.grpo else {"coef": 0.7}
    method = build(policy=policy, reference=reference, kl=kl, minibatches=1, no_eos_penalty=0.0, **GROUP_NONE[build])
    kls, rewards = [], []
    for group, table in by_group(method, step=1):
        (ids,) = [t.prompt_ids for t in method.last_rollout.tokens if t.group_id == group.id]
        kept = []
        for answer in group.answers:
            with torch.no_grad():
                new_TV, ref_TV = (tiny.alone(m, ids, answer.token_ids, 0.9) for m in (policy, reference))
            kls.append(sum(float(new_TV[t, x] - ref_TV[t, x]) for t, x in enumerate(answer.token_ids)))
            kept.append(made.even_words(answer) - 0.7 * kls[-1])
        factor = 3 / 2 if build is made.rloo else 1.0
        expected = [factor * (x - statistics.fmean(kept)) for x in kept]
        assert table["advantage"][:, 0].tolist() == pytest.approx(expected, abs=1e-9)
        rewards += kept
    figures = method.observe(1)
    assert figures["objective/rlhf_reward"] == pytest.approx(statistics.fmean(rewards))
    assert figures["objective/non_score_reward"] == pytest.approx(-0.7 * statistics.fmean(kls))
    assert figures["objective/kl_coef"] == 0.7 and max(map(abs, kls)) > 0.1


@each_method
def test_a_step_on_kl_in_the_score_alone_lowers_kl(build: Callable[..., Grpo | Rloo]) -> None:
    kl = {"coef": 1.0, "place": "reward"} if build is made.grpo else {"coef": 1.0}
    start = tiny.perturbed(tiny.policy(), seed=1, size=0.05)
    many = {"prompts": 32, "asked": 32, "answers": 4}
    with log.capture():
        method = build(rule=lambda a: 0.0, policy=start, kl=kl, no_eos_penalty=0.0, **many)
        seen = []
        for step in range(1, 7):
            made.one_iteration(method, step)
            seen.append(method.observe(step)["objective/kl_k3"])
    print(seen)
    assert seen[0] > 0.1 and seen[-1] < 0.7 * seen[0]


@each_method
def test_kl_without_a_reference_is_refused(build: Callable[..., Grpo | Rloo]) -> None:
    sound = build(kl={"coef": 0.1})
    with pytest.raises(TrainingError, match="needs a reference"):
        type(sound)(sound.generator, None, sound.reward, sound.prompts, sound.config, 0)


# Leave one out


def test_rloo_by_a_slow_loop() -> None:
    """Loss: -min(A r, A clip(r)), summed over all tokens / (answers x max_tokens), A: score - mean of the others."""
    method = made.rloo(minibatches=1, answers=4, no_eos_penalty=0.3, clip_low=0.1, clip_high=0.15)
    batch = batch_of(method)
    method.policy.load_state_dict(tiny.perturbed(method.policy, seed=4, size=0.03).state_dict())
    records = {group.id: group for group in method.last_rollout.groups}
    total, rows, cut = 0.0, 0, 0
    with torch.no_grad():
        for item in batch.items:
            scores = [made.even_words(a) - 0.3 * (a.finish != "stop") for a in records[item.group.group_id].answers]
            for k, answer in enumerate(item.group.answers):
                lead = scores[k] - statistics.fmean(scores[:k] + scores[k + 1 :])
                new_TV = tiny.alone(method.policy, item.group.prompt_ids, answer, 0.9)
                old_TV = tiny.alone(method.reference, item.group.prompt_ids, answer, 0.9)
                for t, token in enumerate(answer):
                    ratio = math.exp(float(new_TV[t, token] - old_TV[t, token]))
                    bounded = min(max(ratio, 0.9), 1.15)
                    cut += lead * bounded < lead * ratio
                    total += -min(lead * ratio, lead * bounded)
                rows += 1
    figures = loop.accumulate(method, batch, 10**6)
    assert figures["loss"] == pytest.approx(total / (rows * 6), abs=1e-11) and cut > 0


def test_rloo_whitens_over_the_iteration() -> None:
    """Deviation 1 over all answers that count, mean 0; a group that says nothing keeps exactly 0."""
    flat = {p.id for p in tiny.prompts(8)[:3]}
    method = made.rloo(prompts=8, minibatches=1, whiten=True, no_eos_penalty=0.0, kl={"coef": 0.0})
    method.reward = scored(lambda group, answer: 0.1 if group.prompt.id in flat else made.even_words(answer))
    plain = made.rloo(prompts=8, minibatches=1, no_eos_penalty=0.0, kl={"coef": 0.0})
    plain.reward = method.reward
    found = {g.prompt.id: t["advantage"][:, 0] for g, t in by_group(method)}
    before = {g.prompt.id: t["advantage"][:, 0] for g, t in by_group(plain)}
    values = torch.cat(list(found.values())).tolist()
    assert statistics.fmean(values) == pytest.approx(0, abs=1e-12)
    assert statistics.pstdev(values) == pytest.approx(1, abs=1e-6)
    factors = [float(found[p][0] / before[p][0]) for p in found if p not in flat and before[p][0]]
    assert factors == pytest.approx([factors[0]] * len(factors)) and len(factors) > 2
    assert all(not found[p].any() for p in flat)


# Further prompts


class Scored:
    """A reward that sees the group too, and remembers which prompts it was asked about."""

    def __init__(self, rule: Callable[[Group, Answer], float | None]) -> None:
        self.rule = rule
        self.asked: list[list[str]] = []

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        self.asked.append([group.prompt.id for group in groups])
        return [[self.rule(group, answer) for answer in group.answers] for group in groups]


def scored(rule: Callable[[Group, Answer], float | None]) -> TotalReward:
    return TotalReward([("rule", Scored(rule), 1.0)])


def index_unless(easy: set[str]) -> TotalReward:
    """Every answer scores 1 on an easy prompt, and otherwise its number."""
    return scored(lambda group, answer: 1.0 if group.prompt.id in easy else float(answer.index))


N = 14
EASY = {p.id for i, p in enumerate(tiny.prompts(N)) if i % 2}


def resampling(**changes) -> Grpo:
    method = made.grpo(asked=N, no_eos_penalty=0.0, minibatches=1, epochs=1, **{"resample": 2, **changes})
    method.reward = index_unless(EASY)
    return method


def walked(method: Grpo, iterations: int) -> tuple[list[list[list[str]]], list[set[str]]]:
    """Slow loop: prompts asked in each turn of each iteration, and those learned from at last."""
    ids = [p.id for p in method.prompts]
    sequence = [ids[i] for epoch in range(9) for i in order(N, method.seed, epoch)]
    turns, kept = [], []
    for _ in range(iterations):
        own = [[sequence.pop(0) for _ in range(4)]]
        slots = list(own[0])
        for _ in range(method.config.resample):
            easy = [i for i, prompt in enumerate(slots) if prompt in EASY]
            if not easy:
                break
            own.append([sequence.pop(0) for _ in easy])
            for i, prompt in zip(easy, own[-1], strict=True):
                slots[i] = prompt
        turns.append(own)
        kept.append(set(slots))
    return turns, kept


def test_groups_that_say_nothing_are_replaced_by_the_next_prompts() -> None:
    """Prompt by prompt as in the slow loop: nobody is asked twice in a pass, and no more often than allowed."""
    method = resampling()
    (reward,) = [scorer for _, scorer, _ in method.reward.parts]
    turns, kept = walked(method, 4)
    assert {len(own) for own in turns} == {2, 3}, "one iteration needs fewer turns than another"
    asked = 0
    for step in range(4):
        reward.asked.clear()
        batch = batch_of(method, step)
        assert reward.asked == turns[step]
        names = {item.group.group_id for item in batch.items}
        assert len(names) == 4
        figures = method.observe(step)
        easy = [p in EASY for p in turns[step][0]]
        further = sum(map(len, turns[step][1:]))
        asked += 4 + further
        assert figures["frac_reward_zero_std"] == statistics.fmean(easy), "of the iteration's own prompts"
        assert figures["resample/prompts"] == further and figures["episode"] == 3 * asked
        left = [item for item in batch.items if not item.table["advantage"].any()]
        assert len(left) == len(kept[step] & EASY) == round(4 * figures["resample/frac_reward_zero_std"])
    assert method.state() == {
        "episodes": 3 * asked,
        "steps": 10,
        "further": asked - 16,
        "warned": method._warned,
    }


def test_the_tables_of_what_came_later_are_its_own() -> None:
    """Row by row by plain transformers: log-probs of policy and reference, mask, advantage, whatever turn it was."""
    method = resampling(kl={"coef": 0.1}, sampling={"max_tokens": 7, "temperature": 0.9}, reference=tiny.policy(seed=8))
    one = 1 / (1 + 1e-4)
    replaced = 0
    batch = batch_of(method, 1)
    first = {group.id for group in method.last_rollout.groups}
    with torch.no_grad():
        for item in batch.items:
            replaced += item.group.group_id not in first
            assert item.table["mask"].sum(1).tolist() == [len(answer) for answer in item.group.answers]
            for k, answer in enumerate(item.group.answers):
                for name, model in (("old_logp", method.policy), ("ref_logp", method.reference)):
                    logp_TV = tiny.alone(model, item.group.prompt_ids, answer, 0.9)
                    expected = [float(logp_TV[t, token]) for t, token in enumerate(answer)]
                    assert item.table[name][k, : len(answer)].tolist() == pytest.approx(expected, abs=1e-9)
            assert item.table["advantage"][:, 0].tolist() in ([0.0] * 3, pytest.approx([-one, 0.0, one]))
    assert replaced >= 1


def test_a_replay_asks_the_same_again() -> None:
    """From the state after an iteration, as after a kill: the same groups with the same answers."""
    straight, resumed = resampling(), resampling()
    batch_of(straight, 0)
    resumed.load_state(straight.state())
    a, b = (sorted(item.group.answer_ids for item in batch_of(method, 1).items) for method in (straight, resumed))
    assert a == b and straight.further > 0
    cold = sorted(item.group.answer_ids for item in batch_of(resampling(), 1).items)
    assert cold != a, "where the sequence stands is state"


def test_without_resampling_the_prompts_are_those_of_every_method() -> None:
    method, plain = resampling(resample=0), made.ppo(asked=N, prompts=4)
    assert [p.id for p in method.window(8, 4)] == [p.id for p in plain.window(8, 4)]
    batch_of(method, 0)
    assert "resample/prompts" not in method.observe(0) and method.further == 0


@pytest.mark.parametrize("value", [0.3, None])
def test_it_ends_where_every_prompt_says_nothing(value: float | None) -> None:
    """Also where further prompts have no score at all: only an iteration without any is an error."""
    method = resampling(resample=3)
    first = {method.prompts[i].id for i in order(N, method.seed, 0)[:4]}
    method.reward = scored(lambda group, answer: 0.3 if group.prompt.id in first else value)
    with log.capture() as said:
        results = made.one_iteration(method)
    figures = method.observe(0)
    assert figures["resample/prompts"] == 12 and figures["resample/frac_reward_zero_std"] == 1
    assert all(result["grad_norm"] == 0 for result in results)
    assert said.get().count("nothing can be learned") == 1


# Rewards that say nothing


def test_a_constant_reward_is_said_once_and_the_run_goes_on() -> None:
    method = made.grpo(rule=lambda a: 0.3)  # no_eos_penalty makes some groups differ all the same
    with log.capture() as said:
        made.one_iteration(method, 0)
        made.one_iteration(method, 1)
    text = " ".join(said.get().split())
    assert text.count("nothing can be learned") == text.count("same score, 0.3; look at the reward") == 1


def test_groups_that_are_all_alike_are_said_once() -> None:
    """Prompts differ, answers to one prompt do not."""
    method = made.grpo(no_eos_penalty=0.0)
    ids = [p.id for p in method.prompts]
    method.reward = scored(lambda group, answer: float(ids.index(group.prompt.id)))
    with log.capture() as said:
        for step in range(3):
            made.one_iteration(method, step)
    text = " ".join(said.get().split())
    assert text.count("the answers to each prompt all score alike") == 1 and "iteration 0" in text
    again = made.grpo(no_eos_penalty=0.0)
    again.load_state(method.state())
    again.reward = method.reward
    with log.capture() as said:
        made.one_iteration(again, 3)
    assert "alike" not in said.get(), "a run that goes on does not say it again"
