"""PPO's wiring: step-0 assertions under planted faults, the controller, warm-up, early stop, shaping."""

import copy
import sys
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.errors import TrainingError
from assent.core.records import Answer
from assent.data import collate
from assent.methods.ppo import Ppo
from assent.train import loop
from assent.train.optimiser import adamw
from assent.train.tracking import read_metrics


def one_iteration(method: Ppo, step: int = 0) -> list[dict[str, float]]:
    """Figures of every update of an iteration."""
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    results = []
    for batch in method.batches(step):
        batch.result = loop.update(method, optimisers, batch, 10**6)
        results.append(batch.result)
    method.observe(step)
    return results


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"value": {"trunk": "shared"}}, {"kl": {"place": "loss"}}, {"answers": 3}])
def test_a_sound_run_passes_its_own_assertions(dtype: torch.dtype, changes: dict) -> None:
    """KL 0, ratio 1, nothing clipped before the first update; both move afterwards."""
    method = made.ppo(dtype, **changes)
    first, *_, last = one_iteration(method)
    exact = 1e-9 if dtype is torch.float64 else 1e-6
    assert all(abs(method.observe(0)[f"objective/kl{k}"]) < exact for k in ("", "_k2", "_k3"))
    assert first["val/ratio"] == pytest.approx(1, abs=exact) and first["policy/clipfrac_avg"] == 0
    assert abs(first["policy/approxkl_avg"]) < exact
    assert last["policy/approxkl_avg"] > 1e-5
    one_iteration(method, 1)
    assert abs(method.observe(1)["objective/kl"]) > 1e-4


def dropout(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    for layer in method.policy.model.layers:
        layer.mlp.register_forward_hook(lambda module, args, out: torch.nn.functional.dropout(out, 0.1))


def moved_reference(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    method.reference = tiny.perturbed(method.reference, seed=1, size=1e-3)


def temperature_forgotten_in_the_loss(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    forgetful(sys.modules["assent.methods.ppo"], "score", patch)


def temperature_forgotten_by_the_sampler(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    forgetful(sys.modules["assent.engine.generate"], "sample", patch)


def temperature_forgotten_for_the_reference(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    def score_all(model, *args, **options):
        return real(model, *args, **{**options, **({"temperature": 1.0} if model is method.reference else {})})

    module = sys.modules["assent.methods.rollout"]
    real = module.score_all
    patch.setattr(module, "score_all", score_all)


def forgetful(module, name: str, patch: pytest.MonkeyPatch) -> None:
    real = getattr(module, name)
    patch.setattr(module, name, lambda *args, **options: real(*args, **({**options, "temperature": 1.0})))


def logits_off_by_one(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    """The loss reads each token's probability one position late."""
    module = sys.modules["assent.methods.ppo"]
    real = module.score
    patch.setattr(module, "score", lambda *a, **o: (s := real(*a, **o))._replace(
        logp_NT=s.logp_NT if s.logp_NT is None else s.logp_NT.roll(1, 1)))  # fmt: skip


def positions_from_the_edge(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    """The trainer's passes ignore the padding: GPT-2 counts its positions from the left edge."""
    real = collate.collate

    def wrong(groups):
        rows = real(groups)
        return rows._replace(positions_NS=torch.arange(rows.ids_NS.shape[1]).expand_as(rows.ids_NS))

    patch.setattr(sys.modules["assent.engine.score"], "collate", wrong)


FAULTS = [
    dropout,
    moved_reference,
    temperature_forgotten_in_the_loss,
    temperature_forgotten_by_the_sampler,
    temperature_forgotten_for_the_reference,
    logits_off_by_one,
    positions_from_the_edge,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_refused_at_step_0(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    family = "gpt2" if fault is positions_from_the_edge else "llama"
    method = made.ppo(policy=tiny.policy(family), reference=tiny.policy(family), sampling={"temperature": 0.6, "max_tokens": 6})
    before = weights(method.policy)
    fault(method, monkeypatch)
    with pytest.raises(TrainingError):
        one_iteration(method)
    if fault is not temperature_forgotten_in_the_loss and fault is not logits_off_by_one:
        assert equal(before, weights(method.policy))  # seen before anything was learned


def test_with_some_rewards_missing_the_first_real_minibatch_is_the_one_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight groups in eight minibatches: the first one of the shuffle has no score, so it is left out."""
    whole = made.ppo(minibatches=8, epochs=1)
    (first,) = next(iter(whole.batches(0))).items
    method = made.ppo(rule=lambda a: None if a.id in first.group.answer_ids else 1.0, minibatches=8, epochs=1)
    temperature_forgotten_in_the_loss(method, monkeypatch)
    with pytest.raises(TrainingError, match="before the first update"):
        one_iteration(method)


def test_the_critic_warms_up_alone(tmp_path: Path) -> None:
    for trunk in ("separate", "shared"):
        method = made.ppo(iterations=3, value={"trunk": trunk, "warmup": 2})
        policy, value = weights(method.policy), weights(method.modules["value"])
        for step in (0, 1):
            results = one_iteration(method, step)
            assert all(r["val/ratio"] == pytest.approx(1, abs=1e-9) for r in results)
        assert equal(policy, weights(method.policy))
        assert not equal(value, weights(method.modules["value"]))
        one_iteration(method, 2)
        assert not equal(policy, weights(method.policy))


def test_passes_end_early_once_the_policy_moved_far() -> None:
    full = one_iteration(made.ppo(epochs=4))
    assert len(full) == 8
    limit = sorted(r["policy/approxkl_avg"] for r in full)[4]
    stopped = one_iteration(made.ppo(epochs=4, early_stop_kl=limit))
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
    gradient = weights_of_gradient(half)
    batch.items = known
    again = loop.accumulate(half, batch, 10**6)
    assert again == pytest.approx(whole, abs=1e-12)
    for left, right in zip(weights_of_gradient(half), gradient, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def weights_of_gradient(method: Ppo) -> list[torch.Tensor]:
    found = [p.grad.clone() for m in method.modules.values() for p in m.parameters() if p.grad is not None]
    for module in method.modules.values():
        module.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("place", ["reward", "loss"])
def test_a_step_on_kl_alone_lowers_kl(place: str) -> None:
    """No reward, a policy away from its reference: the KL of later answers is smaller, in both places."""
    start = tiny.perturbed(tiny.policy(), seed=1, size=0.05)
    method = made.ppo(rule=lambda a: 0.0, policy=start, kl={"coef": 1.0, "place": place}, no_eos_penalty=0.0, prompts=32,
                      asked=32, answers=4, optimiser={"lr": 3e-3}, value={"lr": 3e-3}, whiten=place == "reward")  # fmt: skip
    kl = []
    for step in range(1, 7):
        one_iteration(method, step)
        kl.append(method.observe(step)["objective/kl_k3"])
    assert kl[0] > 0.1 and kl[-1] < 0.7 * kl[0]


def test_an_entropy_bonus_raises_entropy() -> None:
    flat = {"rule": lambda a: 0.0, "no_eos_penalty": 0.0, "kl": {"coef": 0.0}, "epochs": 1, "prompts": 32, "asked": 32}
    found = []
    for coef in (0.0, 1.0):
        method = made.ppo(entropy_coef=coef, whiten=False, **flat)
        for step in range(4):
            one_iteration(method, step)
        found.append(method.observe(3)["objective/entropy"])
    assert found[1] > found[0] + 0.05


def test_the_reward_goes_up(tmp_path: Path) -> None:
    """Twelve iterations on a rule that a policy can learn, with both kinds of critic."""
    for trunk in ("separate", "shared"):
        method = made.ppo(torch.float32, rule=even_ids, iterations=12, prompts=16, asked=16, answers=4,
                          optimiser={"lr": 1e-2}, value={"trunk": trunk}, kl={"coef": 0.01})  # fmt: skip
        loop.run(method, made.limits(checkpoint_every=100), tmp_path / trunk, "ppo")
        scores = [row["objective/scores"] for row in read_metrics(tmp_path / trunk)]
        assert scores[-1] > scores[0] + 0.2


def even_ids(answer: Answer) -> float:
    return sum(i % 2 == 0 for i in answer.token_ids) / len(answer.token_ids) - 0.5
