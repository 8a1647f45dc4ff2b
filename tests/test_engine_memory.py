"""Expected memory against the bytes that autograd really keeps; what there is; what to do when it runs out."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
import tiny_methods as made
import toy_run
from assent.artifacts.store import Store
from assent.config.blocks import Limits
from assent.core.errors import ModelError, TrainingError
from assent.data.collate import TokenGroup
from assent.engine import precision, room, score
from assent.engine.generate import LocalGenerator
from assent.engine.memory import HOLES, LIBRARIES, Memory, expected, largest_budget
from assent.engine.row import packs
from assent.methods.sft import Sft
from assent.models.load import checkpoint_activations, checkpointed
from assent.train import checkpoint, loop
from assent.train.optimiser import adamw
from killing import child
from toy_run import assent

SIZES = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4, "vocab_size": 300}
GPT2 = {"n_embd": 64, "n_layer": 4, "vocab_size": 300}


@pytest.fixture(autouse=True)
def _auto() -> Any:
    yield
    precision.use("auto")


def model(family: str = "llama", **changes: Any) -> Any:
    sizes = {"n_positions": 256, **GPT2} if family == "gpt2" else {"max_position_embeddings": 256, **SIZES}
    made = tiny.policy(family, dtype=torch.float32, **{**sizes, **changes})
    assert packs(made)
    return made


def long_groups(answers: int) -> list[TokenGroup]:
    return tiny.groups(8, seed=answers, answers=answers, longest=60, prompt=120)


def kept(module: Any, groups: list[TokenGroup], read: str = "reward") -> int:
    """Bytes of the storages that autograd holds after a forward pass, weights aside."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage  # alive, so that no other takes its place
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = score(module, groups, read=read)
    total = sum(storage.nbytes() for storage in held.values())
    del result
    return total


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
@pytest.mark.parametrize("answers", [1, 4])
@pytest.mark.parametrize("family", ["llama", "llama-tied-gqa", "qwen2", "mistral", "gpt2"])
def test_activations_are_what_autograd_keeps(family: str, answers: int, wanted: precision.Precision) -> None:
    precision.use(wanted)
    module, groups = model(family), long_groups(answers)
    found = expected([module], [], groups)
    assert 0.8 * kept(module, groups) < found.activations < 1.3 * kept(module, groups)


def test_recomputed_activations_are_layer_inputs_and_one_layer() -> None:
    """Of four layers, three quarters of what they keep goes; what stays is at least what autograd still holds."""
    module, groups = model(), long_groups(1)
    whole, less = (expected([module], [], groups, checkpointing=c).activations for c in (False, True))
    before = kept(module, groups)
    checkpoint_activations(module)
    held = kept(module, groups)
    assert held < 0.25 * before and held < less < 0.5 * whole


def test_two_models_in_one_loss_add_up() -> None:
    policy, critic, groups = model(), model(seed=1), long_groups(2)
    one, both = expected([policy], [], groups), expected([policy, critic], [], groups)
    assert both.activations == 2 * one.activations and both.optimiser == 2 * one.optimiser


def test_parameters_by_hand() -> None:
    """A trained number takes 16 bytes, a frozen one 4; one that two modules share counts once."""
    linear, frozen = nn.Linear(10, 5, bias=False), nn.Linear(7, 1, bias=False)
    policy = model("llama-tied-gqa")
    n, groups = sum(p.numel() for p in policy.parameters()), long_groups(1)
    found = expected([policy, linear], [frozen, linear], groups)
    assert found.weights == 4 * (n + 50 + 7) and found.optimiser == 12 * (n + 50)
    policy.requires_grad_(False)
    assert expected([policy, linear], [], groups).optimiser == 12 * 50


def test_logits_and_cache_by_hand() -> None:
    """Six answer tokens, 300 ids, 64 dimensions, three copies; two vectors of 64 a layer and cached token."""
    group = TokenGroup("g", (1, 2, 3), ((4, 5), (6, 7, 8, 9)), ("a", "b"))
    found = expected([model()], [], [group], cached=1000)
    assert found.logits == 4 * 300 * (3 * 6 + 64)
    assert found.cache == 1000 * 2 * 4 * 64 * 4
    assert expected([model("llama-tied-gqa")], [], [group], cached=1000).cache == found.cache // 2  # two of four heads
    assert expected([tiny.reward_model(dtype=torch.float32)], [], [group]).logits == 0


def test_the_total_is_the_larger_of_sampling_and_learning() -> None:
    held = Memory(weights=100, optimiser=300, activations=40, logits=4, cache=80)
    assert held.total == 400 + HOLES * 80 + LIBRARIES
    assert held._replace(cache=0).total == 400 + HOLES * 44 + LIBRARIES


def test_the_largest_budget_fits_and_the_next_does_not() -> None:
    """1,000 tokens keep 4 MB; beside what stays there is room for 2,000,000 bytes: 500 tokens, less the holes."""
    groups = [TokenGroup(f"g{i}", (1,) * 50, ((2,) * 50,), ("a",)) for i in range(10)]
    held = Memory(weights=100, optimiser=300, activations=4_000_000, logits=0, cache=0)
    there = 400 + LIBRARIES + 2_000_000
    assert largest_budget(held, groups, there) == 384  # 400 = 500 / 1.25, in steps of 128
    assert largest_budget(held, groups, there - 1_500_000) == 0  # 100 tokens: below 128
    assert largest_budget(held, groups, 0) == 0
    whole = [TokenGroup("g", (1,) * 500, ((2,) * 500,), ("a",))]
    assert largest_budget(held, whole, there) == 0  # a group is never cut


# What there is


def test_what_is_available_is_read_where_the_system_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    physical = room.available(cpu)
    assert physical and physical > 2**28  # no such file: all of the machine's
    (tmp_path / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:    1500 kB\n")
    assert room.available(cpu) == 1500 * 1024
    (tmp_path / "memory.stat").write_text("anon 600\nfile 9999\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert room.available(cpu) == 1500 * 1024
    (tmp_path / "memory.max").write_text("1000\n")
    assert room.available(cpu) == 400


# The plan


def planned(tmp_path: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    run = toy_run.copy(tmp_path, "pretrain")
    assert assent("run", toy_run.recipe(), "--out", run, "--until", "sft", *settings) == 0
    return " ".join(capsys.readouterr().err.split())


def test_the_plan_says_how_a_step_is_cut_and_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = planned(tmp_path, capsys, "sft.limits.token_budget=128")
    assert "sft: micro-batches a step 4, tokens in one 1" in said
    assert "expected peak 6" in said and " MiB of " in said
    assert "out of memory" not in said


def test_a_step_that_will_not_fit_is_warned_of_and_told_what_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available", lambda device: LIBRARIES + 3_000_000)
    said = planned(tmp_path, capsys)
    assert "expected to run out of memory" in said
    assert "set sft.limits.token_budget=" in said and "or sft.limits.activation_checkpointing=true" in said
    budget = int(said.split("sft.limits.token_budget=")[1].split(",")[0])
    assert 0 < budget < 4096
    said = planned(tmp_path / "again", capsys, f"sft.limits.token_budget={budget}")
    assert "out of memory" not in said  # what it said is true
    monkeypatch.setattr(room, "available", lambda device: 1000)
    assert "no sft.limits.token_budget makes it fit" in planned(tmp_path / "none", capsys)


# Activation checkpointing


@pytest.mark.parametrize("name", ["sft", "reward", "dpo", "grpo", "ppo"])
def test_checkpointing_gives_the_same_update(name: str) -> None:
    """Whole updates, in pieces, in float64; after each the models are in evaluation mode, as sampling needs."""
    weights = []
    for wanted in (False, True):
        method = getattr(made, name)()
        optimisers = {key: adamw(module, method.optimisers[key]) for key, module in method.modules.items()}
        limits = Limits(token_budget=40, activation_checkpointing=wanted)
        seen: list[bool] = []
        for layer in next(iter(method.modules.values())).base_model.layers:
            layer.mlp.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(torch.is_grad_enabled()))
        loop._step(method, optimisers, limits, 0)
        assert not any(module.training for module in method.modules.values())
        weights.append(([w for _, m in sorted(method.modules.items()) for w in made.weights(m)], sum(seen)))
    (plain, passes), (again, more) = weights
    assert more == 2 * passes  # every layer is computed once more in each backward pass
    for left, right in zip(plain, again, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


def test_a_sampler_between_updates_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, through a growing cache: in training mode transformers would drop it without an error."""
    policy = tiny.policy(dtype=torch.float64)
    policy.assent_packs = False
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", made.ppo_config().sampling)
    before = generator.draw(tiny.prompts(3), 2, seed=1).logps
    with checkpointed([policy]):
        assert policy.training
    assert generator.draw(tiny.prompts(3), 2, seed=1).logps == before


def test_a_model_that_cannot_is_named() -> None:
    policy = tiny.policy()
    policy.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot compute activations again"), checkpointed([policy]):
        pass


# Out of memory


def cpu_is_full() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def gpu_is_full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB")


def python_is_full() -> None:
    raise MemoryError


def library_is_full() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(
    ("fill", "wanted"),
    [
        (cpu_is_full, " (1,073,741,824.0 GiB more were wanted)"),
        (gpu_is_full, " (2.50 GiB more were wanted)"),
        (python_is_full, ""),
        (library_is_full, ""),
    ],
)
def test_every_way_to_say_that_memory_is_full(fill: Any, wanted: str) -> None:
    with (
        pytest.raises(TrainingError) as caught,
        room.refused("sft", "limits.token_budget", 4096, True),
        room.during("a micro-batch of 3,000 tokens", 3000),
    ):
        fill()
    assert caught.value.what == f"out of memory during a micro-batch of 3,000 tokens{wanted}"
    assert caught.value.where == "sft" and caught.value.exit_code == 2
    fix = caught.value.fix or ""
    assert "sft.limits.token_budget=1500 (now 4096)" in fix
    assert "sft.limits.activation_checkpointing=true (now false)" in fix


def test_a_group_larger_than_the_budget_needs_another_setting() -> None:
    with (
        pytest.raises(TrainingError, match=r"sft.limits.max_length with sft.limits.too_long=drop") as caught,
        room.refused("sft", "limits.token_budget", 100, False),
        room.during("a micro-batch of 3,000 tokens", 3000),
    ):
        python_is_full()
    assert "token_budget=" not in str(caught.value) and "activation_checkpointing" not in str(caught.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), room.refused("s", "k", 1, True), room.during("x"):
        raise RuntimeError("shapes do not match")


def test_a_run_that_ran_out_goes_on_with_the_setting_it_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator really refuses, in step 4. What bounds memory is no part of what a step is."""
    run = toy_run.copy(tmp_path, "pretrain")
    command = ("run", toy_run.recipe(), "sft.limits.checkpoint_every=2", "--out", run, "--until", "sft")
    real, calls = Sft.loss, iter(range(100))

    def loss(self: Sft, items: Any) -> Any:
        if next(calls) == 3:
            cpu_is_full()
        return real(self, items)

    with monkeypatch.context() as patch:
        patch.setattr(Sft, "loss", loss)
        assert assent(*command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "sft: out of memory during a micro-batch of" in said and "Traceback" not in said
    fix = said.split("set ")[1].split(" (now 4096)")[0]
    assert fix.startswith("sft.limits.token_budget=") and (run / "sft" / checkpoint.FILE).exists()
    assert assent(*command, fix, "sft.limits.activation_checkpointing=true") == 0
    assert "on from step 2 of 6" in capsys.readouterr().err
    assert Store(run).manifest("sft") is not None


@pytest.mark.parametrize("place", ["sample", "score_all"])
def test_sampling_and_scoring_say_so_too(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy_run.copy(tmp_path, "pretrain", "sft", "collect", "reward")
    module = "assent.engine.generate" if place == "sample" else "assent.methods.rollout"
    monkeypatch.setattr(f"{module}.{place}", lambda *_, **__: cpu_is_full())
    assert assent("run", toy_run.recipe(), "--out", run, "--until", "ppo") == 2
    said = " ".join(capsys.readouterr().err.split())
    what = "sampling" if place == "sample" else "scoring"
    assert f"ppo: out of memory during {what} 8 answers" in said and "set ppo.limits.token_budget=2048" in said


def test_a_real_limit_is_felt_and_named() -> None:
    """A fork whose address space may grow by 64 MiB: a micro-batch of some 34,000 tokens does not fit.

    One of its tensors takes more than 32 MiB, and so a mapping of its own: what the tests before have freed is no room.
    """
    groups = tiny.groups(512, seed=1, answers=1, longest=60, prompt=120)
    policy = model(hidden_size=128, intermediate_size=352)
    method = Sft(policy, groups, made.OPTIMISER, batch=512, steps=1, seed=0)
    optimisers = {"policy": adamw(policy, made.OPTIMISER)}
    assert 4 * 352 * sum(len(p) + len(a) for p, a in tiny.rows(groups)) > 2**25
    assert expected([policy], [], groups).activations > 2**29

    def limited() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 2**26
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            with room.refused("sft", "limits.token_budget", 10**6, True):
                loop._step(method, optimisers, Limits(token_budget=10**6), 0)
        except TrainingError as error:
            assert "out of memory during a micro-batch of" in str(error) and "more were wanted" in str(error)
        else:
            raise AssertionError("the limit was not felt")

    assert child(limited) == 0
