"""Training an adapter: the sampler moves, the reference does not, little is kept, and a cut changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import tiny
import tiny_adapters as lora
import tiny_methods as made
from assent.config.blocks import Limits
from assent.core.errors import TrainingError
from assent.engine import score, score_all
from assent.methods.rollout import AGREE_FLOAT64, LARGEST, Rollout
from assent.methods.sft import Sft
from assent.models import adapters
from assent.train import checkpoint, loop
from assent.train.optimiser import adamw

TRUNKS = ["separate", "shared"]


def trained(method: Any, steps: int = 2) -> None:
    """Some iterations, in memory."""
    optimisers = {key: adamw(module, method.optimisers[key]) for key, module in method.modules.items()}
    for step in range(steps):
        loop._step(method, optimisers, made.limits(), step)
        method.observe(step)


def ids(rollout: Rollout) -> list[Any]:
    return [group.answers for group in rollout.tokens]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_at_the_start_the_policy_is_its_reference(trunk: str) -> None:
    """KL 0 and the sampler's own log-probs: `check_start` and `check_first` have passed."""
    results = made.one_iteration(lora.ppo(value={"trunk": trunk}))
    assert len(results) == 4 and abs(results[0]["val/ratio"] - 1) < 1e-9


@pytest.mark.parametrize("trunk", TRUNKS)
def test_after_an_update_the_sampler_draws_from_the_adapted_policy(trunk: str) -> None:
    method = lora.ppo(value={"trunk": trunk}, optimiser={"lr": 0.05})
    before = method.rollout(0)
    trained(method, steps=1)
    after = method.rollout(0)  # the same prompts and the same randomness
    assert ids(after) != ids(before)
    assert after.figures[LARGEST] < AGREE_FLOAT64
    exact = adapters.merged(method.policy)
    merged = score_all(exact, after.tokens, 10**6, temperature=0.9).logp_NT
    drawn = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(logps, dtype=torch.float64) for group in after.sampled.logps for logps in group], True
    )
    torch.testing.assert_close(drawn, merged, rtol=0, atol=1e-9)
    base = score_all(method.reference, after.tokens, 10**6, temperature=0.9).logp_NT
    assert (drawn - base).abs().max() > 0.1


@pytest.mark.parametrize("fault", ["the base", "a stale copy"])
def test_a_sampler_whose_adapter_never_moves_is_found_out(fault: str) -> None:
    method = lora.ppo(optimiser={"lr": 0.05})
    trained(method, steps=1)
    copy = adapters.off(method.policy) if fault == "the base" else lora.policy()
    method.generator.model, true = copy, method.generator.model
    stale = method.generator.draw(tiny.prompts(8), 1, 3, "x")
    method.generator.model = true
    method.generator.draw = lambda *_: stale  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="differ by"):
        method.rollout(0)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_reference_and_the_base_stay_where_they_are(trunk: str) -> None:
    method = lora.ppo(value={"trunk": trunk})
    groups = tiny.groups(4, seed=3)
    before = score(method.reference, groups).logp_NT
    trained(method)
    assert score(method.reference, groups).logp_NT.equal(before)
    frozen = {n: p for n, p in method.policy.named_parameters() if not p.requires_grad}
    plain = dict(tiny.policy().named_parameters())
    assert frozen and all(p.equal(plain[n.replace(".base_layer", "")]) for n, p in frozen.items())
    rollout = method.rollout(1)
    gap_NT = (rollout.logp_NT - rollout.ref_logp_NT).masked_fill(~rollout.mask_NT, 0.0)
    assert gap_NT.abs().max() > 1e-3


def test_everything_an_adapter_has_learns() -> None:
    method = lora.ppo()
    start = {m: dict(made_copy(module)) for m, module in method.modules.items()}
    trained(method, steps=3)
    for name, module in method.modules.items():
        for key, parameter in module.named_parameters():
            assert parameter.equal(start[name][key]) is not parameter.requires_grad, f"{name}/{key}"


def made_copy(module: torch.nn.Module) -> Any:
    return ((name, parameter.detach().clone()) for name, parameter in module.named_parameters())


@pytest.mark.parametrize("trunk", TRUNKS)
def test_pieces_and_recomputed_activations_give_the_same_update(trunk: str) -> None:
    """Policy and critic stand on one trunk in one loss: in the backward pass each layer must know whose turn it is."""
    results = []
    for limits in (Limits(token_budget=10**6), Limits(token_budget=30, activation_checkpointing=True)):
        method = lora.ppo(value={"trunk": trunk}, optimiser={"eps": 1e-4})
        for module in method.modules.values():
            lora.stirred(module)
        method.reference = method.policy
        optimisers = {key: adamw(module, method.optimisers[key]) for key, module in method.modules.items()}
        loop._step(method, optimisers, limits, 0)
        results.append([w for _, m in sorted(method.modules.items()) for w in made.weights(m)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_checkpoint_holds_the_adapter_alone_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    def straight(folder: Path, until: int | None = None) -> Any:
        method = lora.ppo(torch.float32)
        if until is not None:
            method.steps = until
        loop.run(method, made.limits(), folder, "ppo")
        return method

    wanted = straight(tmp_path / "straight")
    with safe_open(tmp_path / "straight" / checkpoint.FILE, framework="pt") as file:
        names = [key.split("/", 2)[2] for key in file.keys() if key.startswith("module/")]  # noqa: SIM118
    assert names and all(".lora_" in name or name == "score.weight" for name in names)
    numbers = 2 * 3 * (4 * 32 + 3 * 48)
    size = (tmp_path / "straight" / checkpoint.FILE).stat().st_size
    assert 12 * (2 * numbers + 16) < size < 12 * (2 * numbers + 16) + 100_000  # weight and two moments; names beside
    found = lora.ppo(torch.float32)
    (tmp_path / "again").mkdir()
    half = lora.ppo(torch.float32)
    calls = iter(range(100))

    class Stop(Exception):
        pass

    def observe(step: int, before: Any = half.observe) -> Any:
        if next(calls) == 5:
            raise Stop
        return before(step)

    half.observe = observe  # type: ignore[method-assign]
    with pytest.raises(Stop):
        loop.run(half, made.limits(), tmp_path / "again", "ppo")
    loop.run(found, made.limits(), tmp_path / "again", "ppo")
    for name in wanted.modules:
        assert made.equal(made.weights(found.modules[name]), made.weights(wanted.modules[name]))


def test_sft_learns_through_an_adapter_as_fast_as_its_merged_gradient_says() -> None:
    """The first step moves B only, and downhill: A has no gradient while B is zero."""
    policy = lora.policy()
    method = Sft(policy, tiny.groups(8, seed=1, answers=1), made.OPTIMISER, batch=8, steps=5, seed=0)
    start = dict(made_copy(policy))
    losses = []
    optimisers = {"policy": adamw(policy, method.optimisers["policy"].model_copy(update={"weight_decay": 0.0}))}
    for step in range(5):
        losses.append(loop._step(method, optimisers, made.limits(), step)["loss"])
        if step == 0:
            moved = {n for n, p in policy.named_parameters() if not p.equal(start[n])}
            assert moved == {n for n in start if ".lora_B." in n}
    assert losses[-1] < losses[0]
