"""bf16 autocast under fp32 weights: every pass takes it, results stay close, faults are still refused."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
import tiny_methods as made
import toy_run
from assent.core.errors import TrainingError
from assent.engine import precision, sample, score
from assent.engine.row import packs
from assent.methods.experience import check_first
from assent.models import heads
from assent.train import loop
from assent.train.optimiser import adamw
from test_methods_ppo_start import (
    logits_off_by_one,
    moved_reference,
    temperature_forgotten_by_the_sampler,
    temperature_forgotten_for_the_reference,
    temperature_forgotten_in_the_loss,
)
from toy_run import assent

GAP, LOSS = 0.1, 0.02
"""Log-probs of tiny models with wide weights, in nats a token; losses and gradients, relative."""


@pytest.fixture(autouse=True)
def _auto() -> Any:
    yield
    precision.use("auto")


def model(family: str = "llama") -> Any:
    found = tiny.policy(family, dtype=torch.float32)
    assert packs(found)
    return found


def drawn(policy: Any, seed: int = 1) -> list[Any]:
    names = [[f"{i}{k}" for k in range(3)] for i in range(3)]
    prompts, how = [(7, 8, 9), (7,), (10, 11)], {"temperature": 0.9, "max_tokens": 12, "stop": made.STOP}
    return [r for group in sample(policy, prompts, names, seed=seed, token_budget=10**6, **how) for r in group]


def test_auto_is_fp32_on_a_cpu_and_says_what_is_computed() -> None:
    cpu = torch.device("cpu")
    assert not precision.half(cpu) and precision.compute_dtype(model()) is torch.float32
    assert precision.compute_dtype(tiny.policy()) is torch.float64
    precision.use("bf16")
    assert precision.half(cpu) and precision.compute_dtype(model()) is torch.bfloat16
    precision.use("fp32")
    assert not precision.half(cpu)


def test_auto_takes_bf16_only_where_the_gpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for has in (True, False):
        # Older GPUs emulate it, and say that they support it unless asked otherwise.
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has: has)
        assert precision.half(gpu) is has
    precision.use("fp32")
    assert not precision.half(gpu)


@pytest.mark.parametrize("family", ["llama", "gpt2", "llama-tied-gqa", "mistral"])
def test_scores_round_and_no_more(family: str) -> None:
    """They differ from fp32, or nothing was cast; by less than a tenth of a nat."""
    policy, groups = model(family), tiny.groups(6, seed=1)
    wide = score(policy, groups, entropy=True)
    precision.use("bf16")
    assert packs(model(family))  # the trial too judges rounding by what is computed
    half = score(policy, groups, entropy=True)
    for name in ("logp_NT", "entropy_NT"):
        gap = (getattr(half, name) - getattr(wide, name)).detach().abs()
        assert 1e-4 < float(gap.max()) < GAP and getattr(half, name).dtype is torch.float32


@pytest.mark.parametrize("packed", [True, False])
def test_sampler_and_trainer_round_together(packed: bool) -> None:
    """Trained in fp32 and sampled in bf16, or the other way round, the gap would be that of the formats."""
    policy = model()
    policy.assent_packs = packed
    precision.use("bf16")
    seen = []
    module = policy.model.layers[0].mlp.up_proj
    module.register_forward_hook(lambda layer, args, out: seen.append(out.dtype))
    answers = drawn(policy)
    assert set(seen) == {torch.bfloat16}
    prompts = [p for p in ((7, 8, 9), (7,), (10, 11)) for _ in range(3)]
    groups = [tiny.TokenGroup("g", p, (r.ids,), ("a",)) for p, r in zip(prompts, answers, strict=True)]
    scored = score(policy, groups, temperature=0.9)
    assert set(seen) == {torch.bfloat16}
    for row, answer in enumerate(answers):
        given = torch.tensor(answer.logps)
        assert float((scored.logp_NT[row, : len(given)].detach() - given).abs().max()) < GAP  # type: ignore[index]


def test_an_answer_is_as_repeatable_as_in_fp32() -> None:
    policy = model()
    precision.use("bf16")
    assert drawn(policy) == drawn(policy)


class Narrow(nn.Module):
    """A last norm that gives bf16, as some families' do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).bfloat16()  # type: ignore[no-any-return]


def test_heads_work_in_fp32_whatever_comes_from_below() -> None:
    precision.use("bf16")
    policy, reward, groups = model(), tiny.reward_model(dtype=torch.float32), tiny.groups(4, seed=2)
    wanted = score(policy, groups, value_head=wide_head(policy)), score(reward, groups)
    answers = drawn(policy)
    for narrow in (policy, reward):
        narrow.base_model.norm = Narrow(narrow.base_model.norm)
    found = score(policy, groups, value_head=wide_head(policy)), score(reward, groups)
    for left, right in ((wanted[0].logp_NT, found[0].logp_NT), (wanted[0].value_NT, found[0].value_NT)):
        assert right.dtype is torch.float32  # type: ignore[union-attr]
        assert 0 < float((left - right).detach().abs().max()) < GAP  # type: ignore[operator]
    assert found[1].reward_N.dtype is torch.float32  # type: ignore[union-attr]
    torch.testing.assert_close(found[1].reward_N, wanted[1].reward_N, rtol=0.02, atol=0.05)
    assert len(drawn(policy)) == len(answers)


def wide_head(policy: Any) -> nn.Linear:
    head = heads.value_head(policy)
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(3))
    return head


def gradients(method: Any) -> tuple[float, dict[str, torch.Tensor]]:
    batch = next(iter(method.batches(0)))
    figures = loop.accumulate(method, batch, 10**6)
    return figures["loss"], {
        f"{m}/{k}": p.grad
        for m, module in method.modules.items()
        for k, p in module.named_parameters()
        if p.grad is not None
    }


def test_an_sft_update_is_close_to_fp32s() -> None:
    """Loss within 2 %, the gradient within 5 % of its length; weights and gradients are fp32."""
    (loss, wide), method = gradients(made.sft(torch.float32)), made.sft(torch.float32)
    precision.use("bf16")
    found, half = gradients(method)
    assert found != loss and found == pytest.approx(loss, rel=LOSS)
    assert wide.keys() == half.keys() and all(g.dtype is torch.float32 for g in half.values())
    gap = math.sqrt(sum(float((wide[k] - half[k]).square().sum()) for k in wide))
    assert 0 < gap < 0.05 * math.sqrt(sum(float(g.square().sum()) for g in wide.values()))
    before = copy.deepcopy(made.weights(method.policy))
    optimisers = {"policy": adamw(method.policy, made.OPTIMISER)}
    loop.update(method, optimisers, next(iter(method.batches(0))), 10**6)
    assert not made.equal(before, made.weights(method.policy))
    assert all(p.dtype is torch.float32 for p in method.policy.parameters())


@pytest.mark.parametrize("changes", [{}, {"value": {"trunk": "shared"}}, {"answers": 3}, {"kl": {"place": "loss"}}])
def test_a_ppo_iteration_runs_and_passes_its_own_assertions(changes: dict[str, Any]) -> None:
    precision.use("bf16")
    method = made.ppo(torch.float32, limits={"token_budget": 40}, **changes)
    first, *_, last = made.one_iteration(method)
    figures = method.observe(0)
    assert figures["objective/kl"] == 0 and 0 < figures["sampling/sampling_logp_difference/max"] < GAP
    assert abs(first["val/ratio"] - 1) < 1e-3 and first["policy/clipfrac_avg"] == 0
    assert last["policy/approxkl_avg"] > 1e-5


def test_a_ppo_update_is_close_to_fp32s() -> None:
    """The same rollout through the loss in both formats: policy and value losses within 2 % of their size."""
    method = made.ppo(torch.float32)
    batch = next(iter(method.batches(0)))
    wide = loop.accumulate(method, batch, 10**6)
    precision.use("bf16")
    half = loop.accumulate(method, batch, 10**6)
    assert half["loss/value_avg"] != wide["loss/value_avg"]
    assert half["loss/value_avg"] == pytest.approx(wide["loss/value_avg"], rel=0.05)
    assert half["loss/policy_avg"] == pytest.approx(wide["loss/policy_avg"], abs=LOSS)


@pytest.mark.parametrize(
    "fault",
    [
        moved_reference,
        temperature_forgotten_in_the_loss,
        temperature_forgotten_by_the_sampler,
        temperature_forgotten_for_the_reference,
        logits_off_by_one,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_planted_fault_is_refused_all_the_same(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    precision.use("bf16")
    method = made.ppo(torch.float32, sampling={"temperature": 0.6, "max_tokens": 6})
    fault(method, monkeypatch)
    with pytest.raises(TrainingError):
        made.one_iteration(method)


def test_the_first_update_is_judged_by_what_is_computed() -> None:
    sound = {"val/ratio": 1.0, "policy/approxkl_avg": 0.0, "policy/clipfrac_avg": 0.0}
    rounded = {"val/ratio": 1.001, "policy/approxkl_avg": 1e-4, "policy/clipfrac_avg": 0.0}
    check_first(sound, torch.float32)
    check_first(rounded, torch.bfloat16)
    with pytest.raises(TrainingError):
        check_first(rounded, torch.float32)
    for wrong in ({"val/ratio": 1.02}, {"policy/approxkl_avg": 2e-3}, {"policy/clipfrac_avg": 0.02}):
        with pytest.raises(TrainingError):
            check_first({**sound, **wrong}, torch.bfloat16)


# In a recipe


def test_what_bf16_made_is_not_taken_for_fp32s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resolved precision of fp32 leaves runs as they are; bf16 is another run, and never overwrites one."""
    run = toy_run.copy(tmp_path / "run", "pretrain")
    command = ("run", toy_run.recipe(), "--until", "pretrain", "--out")
    assert assent(*command, run, "precision=fp32") == 0
    assert "done before" in capsys.readouterr().err
    assert assent(*command, run, "precision=bf16") == 2
    assert "give another --out" in " ".join(capsys.readouterr().err.split())
    other = tmp_path / "bf16"
    assert assent(*command, other, "precision=bf16") == 0
    assert assent(*command, other, "precision=bf16") == 0
    assert "done before" in capsys.readouterr().err
    assert assent(*command, other) == 2
    manifests = [json.loads((folder / "pretrain/manifest.json").read_text()) for folder in (run, other)]
    assert [m["environment"]["dtype"] for m in manifests] == ["float32", "bfloat16"]
    assert manifests[0]["content"] != manifests[1]["content"]


def test_a_misspelt_precision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("run", toy_run.recipe(), "precision=fp16") == 2
    assert "precision" in capsys.readouterr().err
