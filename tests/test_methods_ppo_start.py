"""Before PPO's first update: KL 0, ratio 1, nothing clipped; and what happens when a fault is planted."""

import sys

import pytest
import torch

import tiny
import tiny_methods as made
from assent.core.errors import TrainingError
from assent.engine import packed
from assent.engine.row import packs
from assent.methods.ppo import Ppo


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"value": {"trunk": "shared"}}, {"kl": {"place": "loss"}}, {"answers": 3}])
def test_a_sound_run_passes_its_own_assertions(dtype: torch.dtype, changes: dict) -> None:
    """KL 0, ratio 1, nothing clipped before the first update; both move afterwards."""
    method = made.ppo(dtype, **changes)
    first, *_, last = made.one_iteration(method)
    exact = 1e-9 if dtype is torch.float64 else 1e-6
    assert all(abs(method.observe(0)[f"objective/kl{k}"]) < exact for k in ("", "_k2", "_k3"))
    assert first["val/ratio"] == pytest.approx(1, abs=exact) and first["policy/clipfrac_avg"] == 0
    assert abs(first["policy/approxkl_avg"]) < exact
    assert last["policy/approxkl_avg"] > 1e-5
    made.one_iteration(method, 1)
    assert abs(method.observe(1)["objective/kl"]) > 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama-tied-gqa", "qwen2", "mistral"])
def test_so_does_one_of_every_family(family: str) -> None:
    method = made.ppo(policy=tiny.policy(family), reference=tiny.policy(family), answers=2)
    first, *_ = made.one_iteration(method)
    assert first["val/ratio"] == pytest.approx(1, abs=1e-9)
    assert method.observe(0)["sampling/sampling_logp_difference/max"] < 1e-9


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
    patch.setattr(
        module,
        "score",
        lambda *a, **o: (s := real(*a, **o))._replace(logp_NT=s.logp_NT if s.logp_NT is None else s.logp_NT.roll(1, 1)),
    )


def positions_one_too_far(method: Ppo, patch: pytest.MonkeyPatch) -> None:
    """The trainer's passes count positions from 1 (GPT-2's are absolute, so that it shows)."""
    real = packed.forward

    def wrong(model, ids_Q, positions_Q, layout):
        return real(model, ids_Q, positions_Q + 1, layout)

    for model in (method.policy, method.reference, *([method.critic] if method.critic is not None else [])):
        assert packs(model)  # found out now: the trial must not see the fault
    patch.setattr(packed, "forward", wrong)


FAULTS = [
    dropout,
    moved_reference,
    temperature_forgotten_in_the_loss,
    temperature_forgotten_by_the_sampler,
    temperature_forgotten_for_the_reference,
    logits_off_by_one,
    positions_one_too_far,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_refused_at_step_0(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    family = "gpt2" if fault is positions_one_too_far else "llama"
    method = made.ppo(
        policy=tiny.policy(family),
        reference=tiny.policy(family),
        sampling={"temperature": 0.6, "max_tokens": 6},
    )
    before = made.weights(method.policy)
    fault(method, monkeypatch)
    with pytest.raises(TrainingError):
        made.one_iteration(method)
    if fault is not temperature_forgotten_in_the_loss and fault is not logits_off_by_one:
        assert made.equal(before, made.weights(method.policy))  # seen before anything was learned


def test_with_some_rewards_missing_the_first_real_minibatch_is_the_one_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight groups in eight minibatches: the first one of the shuffle has no score, so it is left out."""
    whole = made.ppo(minibatches=8, epochs=1)
    (first,) = next(iter(whole.batches(0))).items
    method = made.ppo(rule=lambda a: None if a.id in first.group.answer_ids else 1.0, minibatches=8, epochs=1)
    temperature_forgotten_in_the_loss(method, monkeypatch)
    with pytest.raises(TrainingError, match="before the first update"):
        made.one_iteration(method)
