"""GRPO: advantages from siblings, no reference unless KL is charged, step 0, groups that say nothing."""

import math
import statistics
import sys
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.errors import TrainingError
from assent.core.records import Answer
from assent.methods.grpo import Grpo
from assent.train import loop
from assent.train.method import Batch
from assent.train.tracking import read_metrics
from test_methods_ppo import even_ids
from test_methods_ppo_start import dropout, forgetful, temperature_forgotten_by_the_sampler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"kl": {"coef": 0.1}}, {"aggregation": "constant"}])
def test_a_sound_run_passes_its_own_assertions(dtype: torch.dtype, changes: dict) -> None:
    method = made.grpo(dtype, **changes)
    first, *_, last = made.one_iteration(method)
    exact = 1e-9 if dtype is torch.float64 else 1e-6
    assert first["val/ratio"] == pytest.approx(1, abs=exact) and first["policy/clipfrac_avg"] == 0
    assert abs(first["policy/approxkl_avg"]) < exact and last["policy/approxkl_avg"] > 1e-6
    figures = method.observe(0)
    assert ("objective/kl" in figures) == ("kl" in changes), "no reference is asked unless its KL is charged"
    assert abs(figures.get("objective/kl", 0.0)) < exact
    assert figures["episode"] == 12


def temperature_forgotten_in_the_loss(method: Grpo, patch: pytest.MonkeyPatch) -> None:
    forgetful(sys.modules["assent.methods.groups"], "score", patch)


def moved_reference(method: Grpo, patch: pytest.MonkeyPatch) -> None:
    method.reference = tiny.perturbed(method.reference, seed=1, size=1e-3)


@pytest.mark.parametrize(
    "fault",
    [dropout, moved_reference, temperature_forgotten_in_the_loss, temperature_forgotten_by_the_sampler],
    ids=lambda fault: fault.__name__,
)
def test_a_planted_fault_is_refused_at_step_0(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made.grpo(kl={"coef": 0.1}, sampling={"temperature": 0.6, "max_tokens": 6})
    fault(method, monkeypatch)
    with pytest.raises(TrainingError):
        made.one_iteration(method)


def test_kl_without_a_reference_is_refused() -> None:
    sound = made.grpo(kl={"coef": 0.1})
    with pytest.raises(TrainingError, match="needs a reference"):
        Grpo(sound.generator, None, sound.reward, sound.prompts, sound.config, 0)


def batch_of(method: Grpo) -> Batch:
    return next(iter(method.batches(0)))


def test_an_answer_is_compared_with_its_siblings() -> None:
    """(score - mean) / (deviation + 1e-4) of the answers to one prompt, the same for every token."""
    method = made.grpo(minibatches=1, no_eos_penalty=0.5)
    items = batch_of(method).items
    rollout = method.last_rollout
    spread = 0
    for group in rollout.groups:
        (item,) = [i for i in items if i.group.group_id == group.id]
        scores = [made.even_words(a) - 0.5 * (a.finish != "stop") for a in group.answers]
        mean, std = statistics.fmean(scores), statistics.stdev(scores)
        spread += std > 0
        for k, (answer, score) in enumerate(zip(group.answers, scores, strict=True)):
            row = item.table["advantage"][k, : len(answer.token_ids)].tolist()
            assert row == pytest.approx([(score - mean) / (std + 1e-4)] * len(row), abs=1e-9)
    assert spread >= 2 and len({a.finish for g in rollout.groups for a in g.answers}) == 2


def test_the_loss_by_a_slow_loop() -> None:
    """-min(A r, A clip(r)) + kl_coef (exp(-d) - 1 + d), summed over tokens / tokens, by plain transformers."""
    method = made.grpo(kl={"coef": 0.3}, minibatches=1, clip_low=0.1, clip_high=0.15)
    batch = batch_of(method)
    moved = tiny.perturbed(method.policy, seed=4, size=0.03)
    method.policy.load_state_dict(moved.state_dict())
    total, tokens, cut = 0.0, 0, 0
    with torch.no_grad():
        for item in batch.items:
            for k, answer in enumerate(item.group.answers):
                new_TV = tiny.alone(method.policy, item.group.prompt_ids, answer, 0.9)
                ref_TV = tiny.alone(method.reference, item.group.prompt_ids, answer, 0.9)
                for t, token in enumerate(answer):
                    new, ref = float(new_TV[t, token]), float(ref_TV[t, token])
                    a, old = float(item.table["advantage"][k, t]), float(item.table["old_logp"][k, t])
                    ratio = math.exp(new - old)
                    bounded = min(max(ratio, 0.9), 1.15)
                    cut += a * bounded < a * ratio
                    total += -min(a * ratio, a * bounded) + 0.3 * (math.exp(ref - new) - 1 - (ref - new))
                    tokens += 1
    figures = loop.accumulate(method, batch, 10**6)
    assert figures["loss"] == pytest.approx(total / tokens, abs=1e-11)
    assert figures["policy/clipfrac_avg"] == pytest.approx(cut / tokens) and cut > 0


def test_a_missing_score_leaves_its_siblings_to_be_compared() -> None:
    method = made.grpo(rule=lambda a: None if a.index == 1 else float(a.index), minibatches=1, no_eos_penalty=0.0)
    one = 1 / (math.sqrt(2) + 1e-4)  # scores 0 and 2: mean 1, deviation sqrt 2
    for item in batch_of(method).items:
        assert not item.table["mask"][1].any() and item.table["mask"][0].any()
        assert item.table["advantage"][:, 0].tolist() == pytest.approx([-one, 0, one])
    assert method.observe(0)["rewards/missing"] == pytest.approx(1 / 3)


def test_groups_that_all_score_alike_teach_nothing_and_are_counted() -> None:
    """Of four prompts two score alike for every answer; once all do, an update moves no weight."""
    prompts = [p.id for p in tiny.prompts(4)]

    def half(answer: Answer, flat: set[str]) -> float:
        return 1.0 if answer.id in flat else float(answer.index)

    probe = made.grpo(asked=4)
    batch_of(probe)
    flat = {a.id for g in probe.last_rollout.groups if g.prompt.id in prompts[:2] for a in g.answers}
    method = made.grpo(asked=4, rule=lambda a: half(a, flat), no_eos_penalty=0.0)
    batch_of(method)
    assert method.observe(0)["frac_reward_zero_std"] == 0.5
    alike = made.grpo(rule=lambda a: 0.3, no_eos_penalty=0.0)
    before = made.weights(alike.policy)
    results = made.one_iteration(alike)
    assert alike.observe(0)["frac_reward_zero_std"] == 1.0
    assert all(r["grad_norm"] == 0 for r in results) and made.equal(before, made.weights(alike.policy))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_step_on_kl_alone_lowers_kl(estimator: str) -> None:
    start = tiny.perturbed(tiny.policy(), seed=1, size=0.05)
    method = made.grpo(
        rule=lambda a: 0.0,
        policy=start,
        kl={"coef": 1.0, "estimator": estimator},
        no_eos_penalty=0.0,
        prompts=32,
        asked=32,
        answers=4,
    )
    kl = []
    for step in range(1, 7):
        made.one_iteration(method, step)
        kl.append(method.observe(step)["objective/kl_k3"])
    assert kl[0] > 0.1 and kl[-1] < 0.7 * kl[0]


def test_the_reward_goes_up(tmp_path: Path) -> None:
    method = made.grpo(
        torch.float32, rule=even_ids, iterations=12, prompts=16, asked=16, answers=4, optimiser={"lr": 1e-2}
    )
    loop.run(method, made.limits(checkpoint_every=100), tmp_path, "grpo")
    scores = [row["objective/scores"] for row in read_metrics(tmp_path)]
    assert scores[-1] > scores[0] + 0.2
    assert method.state()["episodes"] == 12 * 64
