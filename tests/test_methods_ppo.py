"""PPO's settings: warm-up, early stop, the KL controller, shaping of rewards, bonuses."""

import copy
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.records import Answer
from assent.methods.ppo import Ppo
from assent.train import loop
from assent.train.tracking import read_metrics


def test_the_critic_warms_up_alone(tmp_path: Path) -> None:
    for trunk in ("separate", "shared"):
        method = made.ppo(iterations=3, value={"trunk": trunk, "warmup": 2})
        policy, value = made.weights(method.policy), made.weights(method.modules["value"])
        for step in (0, 1):
            results = made.one_iteration(method, step)
            assert all(r["val/ratio"] == pytest.approx(1, abs=1e-9) for r in results)
        assert made.equal(policy, made.weights(method.policy))
        assert not made.equal(value, made.weights(method.modules["value"]))
        made.one_iteration(method, 2)
        assert not made.equal(policy, made.weights(method.policy))


def test_passes_end_early_once_the_policy_moved_far() -> None:
    full = made.one_iteration(made.ppo(epochs=4))
    assert len(full) == 8
    limit = sorted(r["policy/approxkl_avg"] for r in full)[4]
    stopped = made.one_iteration(made.ppo(epochs=4, early_stop_kl=limit))
    kls = [r["policy/approxkl_avg"] for r in stopped]
    assert 1 < len(stopped) < 8
    assert kls[-1] > limit and all(kl <= limit for kl in kls[:-1])


def test_the_adaptive_controller_by_hand_and_across_a_kill(tmp_path: Path) -> None:
    """coef *= 1 + clip(KL / target - 1, -0.2, 0.2) * answers / horizon, once an iteration."""
    kl = {"coef": 0.3, "control": "adaptive", "target": 0.01, "horizon": 80}
    method = made.ppo(iterations=4, kl=kl)
    loop.run(method, made.limits(), tmp_path, "ppo")
    rows, coef = read_metrics(tmp_path), 0.3
    for row in rows:
        assert row["objective/kl_coef"] == pytest.approx(coef)
        coef *= 1 + min(max(row["objective/kl"] / 0.01 - 1, -0.2), 0.2) * 8 / 80
    assert method.kl.coef == pytest.approx(coef) and abs(rows[0]["objective/kl"]) < 1e-9
    assert rows[1]["objective/kl_coef"] == pytest.approx(0.3 * (1 - 0.02))
    other = made.ppo(iterations=4, kl=kl)
    other.load_state(copy.deepcopy(method.state()))
    assert other.kl.coef == method.kl.coef and other.episodes == 32


def test_the_normaliser_survives_and_divides_without_shifting() -> None:
    """Scores 1, 3: deviation 1 and mean 2, so 3 becomes 3, not 1; the state holds all scores so far."""
    method = made.ppo(rule=lambda a: 1.0 + 2 * (len(a.token_ids) % 2), reward_scale="running", no_eos_penalty=0.0)
    next(iter(method.batches(1)))
    rollout = method.last_rollout
    std = float(rollout.score_N.std(unbiased=False))
    assert 0 < std < 1.01
    before = method.normaliser.state_dict()
    other = made.ppo(reward_scale="running")
    other.load_state(method.state())
    assert other.normaliser.state_dict() == before and before["count"] == 8
    assert other.normaliser.std == pytest.approx(std)
    shaped_N = other.normaliser.apply(rollout.score_N)
    torch.testing.assert_close(shaped_N, rollout.score_N / std)


def test_scores_are_clipped_then_penalised_and_only_then_is_kl_charged() -> None:
    """Score 9 clipped to 2, minus 0.5 if the answer never stopped; the KL term is added unclipped."""
    method = made.ppo(rule=lambda a: 9.0, reward_clip=2.0, no_eos_penalty=0.5, kl={"coef": 50.0})
    method.reference = tiny.perturbed(method.reference, seed=1)
    next(iter(method.batches(1)))
    rollout, figures = method.last_rollout, method.observe(1)
    shaped_N = 2.0 - 0.5 * (~rollout.stopped_N).double()
    assert len(shaped_N.unique()) == 2
    kl_N = ((rollout.logp_NT - rollout.ref_logp_NT) * rollout.mask_NT).sum(1)
    expected = shaped_N - 50 * kl_N
    assert expected.abs().max() > 3  # far outside the clip
    assert figures["objective/rlhf_reward"] == pytest.approx(float(expected.mean()))
    assert figures["objective/scores"] == 9  # logged raw


def test_answers_without_a_score_teach_nothing() -> None:
    """Their tokens carry no loss: changing what they are worth changes no gradient, as they have no worth."""
    half = made.ppo(rule=lambda a: None if len(a.text) % 2 else 1.0)
    batch = next(iter(half.batches(0)))
    unknown = ~half.last_rollout.known_N
    assert 0 < int(unknown.sum()) < 8
    assert half.observe(0)["rewards/missing"] == pytest.approx(float(unknown.double().mean()))
    known = [item for item in batch.items if item.table["mask"].any()]
    assert len(known) < len(batch.items)
    whole = loop.accumulate(half, batch, 10**6)
    gradient = gradients(half)
    batch.items = known
    again = loop.accumulate(half, batch, 10**6)
    assert again == pytest.approx(whole, abs=1e-12)
    for left, right in zip(gradients(half), gradient, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def gradients(method: Ppo) -> list[torch.Tensor]:
    found = [p.grad.clone() for m in method.modules.values() for p in m.parameters() if p.grad is not None]
    for module in method.modules.values():
        module.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("place", ["reward", "loss"])
def test_a_step_on_kl_alone_lowers_kl(place: str) -> None:
    """No reward, a policy away from its reference: the KL of later answers is smaller, in both places."""
    start = tiny.perturbed(tiny.policy(), seed=1, size=0.05)
    method = made.ppo(
        rule=lambda a: 0.0,
        policy=start,
        kl={"coef": 1.0, "place": place},
        no_eos_penalty=0.0,
        prompts=32,
        asked=32,
        answers=4,
        optimiser={"lr": 3e-3},
        value={"lr": 3e-3},
        whiten=place == "reward",
    )
    kl = []
    for step in range(1, 7):
        made.one_iteration(method, step)
        kl.append(method.observe(step)["objective/kl_k3"])
    assert kl[0] > 0.1 and kl[-1] < 0.7 * kl[0]


def test_an_entropy_bonus_raises_entropy() -> None:
    flat = {
        "rule": lambda a: 0.0,
        "no_eos_penalty": 0.0,
        "kl": {"coef": 0.0},
        "epochs": 1,
        "prompts": 32,
        "asked": 32,
    }
    found = []
    for coef in (0.0, 1.0):
        method = made.ppo(entropy_coef=coef, whiten=False, **flat)
        for step in range(4):
            made.one_iteration(method, step)
        found.append(method.observe(3)["objective/entropy"])
    assert found[1] > found[0] + 0.05


def test_the_reward_goes_up(tmp_path: Path) -> None:
    """Twelve iterations on a rule that a policy can learn, with both kinds of critic."""
    for trunk in ("separate", "shared"):
        method = made.ppo(
            torch.float32,
            rule=even_ids,
            iterations=12,
            prompts=16,
            asked=16,
            answers=4,
            optimiser={"lr": 1e-2},
            value={"trunk": trunk},
            kl={"coef": 0.01},
        )
        loop.run(method, made.limits(checkpoint_every=100), tmp_path / trunk, "ppo")
        scores = [row["objective/scores"] for row in read_metrics(tmp_path / trunk)]
        assert scores[-1] > scores[0] + 0.2


def even_ids(answer: Answer) -> float:
    return sum(i % 2 == 0 for i in answer.token_ids) / len(answer.token_ids) - 0.5
