"""LoRA: what a fresh adapter leaves, what a trained one moves, several models on one trunk, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import tiny
import tiny_adapters as lora
from assent.config.blocks import Adapter
from assent.core.errors import ConfigError
from assent.engine import row, score
from assent.engine.memory import expected
from assent.engine.sample import sample
from assent.models import adapters, heads
from assent.models.load import load_policy, load_reward_model, save
from test_engine_memory import kept, long_groups, model
from test_engine_packed import plain

LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = [*(("llama", t) for t in LLAMA), *(("gpt2", t) for t in ("c_attn", "c_proj", "c_fc"))]
GROUPS = tiny.groups(5, seed=31, answers=3)


def logp(model: Any, **options: Any) -> Tensor:
    found = score(model, GROUPS, **options).logp_NT
    assert found is not None
    return found.detach()


def ids(*shape: int) -> Tensor:
    return torch.randint(0, tiny.VOCABULARY, shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_fresh_adapter_changes_nothing(family: str) -> None:
    torch.testing.assert_close(logp(lora.policy(family=family)), logp(tiny.policy(family)), rtol=0, atol=1e-12)
    reward = adapters.adapt(tiny.reward_model(family), lora.LORA, 0)
    before = score(tiny.reward_model(family), GROUPS).reward_N
    torch.testing.assert_close(score(reward, GROUPS).reward_N, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("family", "target"), TARGETS)
def test_every_target_is_in_force_however_the_model_is_run(family: str, target: str) -> None:
    """Packed, row by row and token by token: no faster way of computing a layer passes its adapter over."""
    model = tiny.policy(family)
    before = logp(model)  # the engine has put its own modules in before the adapter comes
    lora.stirred(adapters.adapt(model, lora.LORA, 0), only=f".{target}.")
    assert row.packs(model)
    after = logp(model)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, plain(model, GROUPS).logp_NT.detach(), rtol=0, atol=1e-9)
    options: dict[str, Any] = {"seed": 1, "temperature": 1.0, "max_tokens": 4, "stop": [], "token_budget": 10**6}
    for group in GROUPS[:2]:
        ((drawn,),) = sample(model, [group.prompt_ids], [["x"]], **options)
        logp_TV = tiny.alone(model, group.prompt_ids, drawn.ids)
        wanted = logp_TV.gather(1, torch.tensor(drawn.ids)[:, None]).squeeze(1).detach()
        torch.testing.assert_close(torch.tensor(drawn.logps, dtype=wanted.dtype), wanted, rtol=0, atol=1e-9)


def test_only_the_adapter_and_a_head_are_trained() -> None:
    """Rank 3 on a layer of a inputs and b outputs: 3 (a + b). Four of 16 x 16 and three of 16 x 32, twice."""
    policy, reward = lora.policy(), adapters.adapt(tiny.reward_model(), lora.LORA, 0)
    trained = {n: p.numel() for n, p in policy.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == 2 * 3 * (4 * (16 + 16) + 3 * (16 + 32))
    assert {n for n, p in reward.named_parameters() if p.requires_grad} == {*trained, "score.weight"}
    some = lora.policy(targets=("q_proj", "down_proj"))
    assert sum(p.numel() for p in some.parameters() if p.requires_grad) == 2 * 3 * (32 + 48)


def test_no_adapter_leaves_the_model_as_it_is() -> None:
    policy = tiny.policy()
    assert adapters.adapt(policy, None, 0) is policy and not adapters.adapted(policy)
    assert all(p.requires_grad for p in policy.parameters()) and adapters.merged(policy) is policy


def test_the_seed_decides_the_start_and_nothing_else_does() -> None:
    def downs(seed: int, noise: int) -> list[Tensor]:
        torch.manual_seed(noise)
        made = lora.policy(seed=seed)
        return [p.detach() for n, p in made.named_parameters() if ".lora_A." in n]

    one, same, other = downs(1, noise=0), downs(1, noise=5), downs(2, noise=0)
    assert all(a.equal(b) for a, b in zip(one, same, strict=True))
    assert not any(a.equal(b) for a, b in zip(one, other, strict=True))
    assert all(a.abs().max() <= a.shape[1] ** -0.5 for a in one)
    spread = torch.cat([a.flatten() * a.shape[1] ** 0.5 for a in one])  # uniform in -1..1: variance 1/3
    assert abs(float(spread.var()) - 1 / 3) < 5 * (4 / 45 / len(spread)) ** 0.5


def test_the_change_is_alpha_over_rank_times_b_a() -> None:
    policy = lora.stirred(lora.policy(rank=2, alpha=6.0))
    layer = policy.model.layers[1].mlp.down_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    wanted = tiny.policy().model.layers[1].mlp.down_proj.weight + 3 * b @ a
    found = adapters.merged(policy).model.layers[1].mlp.down_proj.weight
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "targets", "said"),
    [
        ("llama", ["q_proj", "query"], "`query` is no linear layer of LlamaForCausalLM"),
        ("llama", ["lm_head"], "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"),
        ("llama", ["embed_tokens"], "`embed_tokens` is no linear layer"),
        ("gpt2", ["q_proj"], "take of c_attn, c_fc, c_proj"),
    ],
)
def test_a_target_that_matches_no_layer_is_refused(family: str, targets: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        adapters.adapt(tiny.policy(family), Adapter(targets=tuple(targets)), 0)
    assert said in str(caught.value) and caught.value.where == "adapter.targets"


# Several models on one trunk


def test_off_is_the_base_and_holds_nothing_of_its_own() -> None:
    policy = lora.stirred(lora.policy())
    base = adapters.off(policy)
    torch.testing.assert_close(logp(base), logp(tiny.policy()), rtol=0, atol=1e-12)
    assert {id(p) for p in base.parameters()} < {id(p) for p in policy.parameters()}
    assert not any(p.requires_grad for p in base.parameters())
    assert adapters.adapted(policy) and not adapters.adapted(base)
    assert (logp(policy) - logp(base)).abs().max() > 0.1


@pytest.mark.parametrize("family", ["llama-tied-gqa", "gpt2"])
def test_a_value_model_on_the_policys_trunk_starts_at_zero_and_learns_alone(family: str) -> None:
    policy = lora.stirred(lora.policy(family=family))
    before = logp(policy)
    value = adapters.value_model_on(policy, tiny.tokenizer(), lora.LORA, seed=1)
    own = [p for p in value.parameters() if p.requires_grad]
    assert not {id(p) for p in own} & {id(p) for p in policy.parameters()}
    shared = [p for p in value.parameters() if not p.requires_grad]
    assert {id(p) for p in shared} <= {id(p) for p in policy.parameters()}
    found = score(value, GROUPS, read="value").value_NT
    assert found is not None and row.packs(value) and found.eq(0).all()
    optimiser = torch.optim.SGD(own, lr=1.0)
    for _ in range(2):  # the head first: behind a head of zero nothing else has a gradient
        score(value, GROUPS, read="value").value_NT.sum().backward()
        optimiser.step()
    assert score(value, GROUPS, read="value").value_NT.abs().max() > 0.01
    assert logp(policy).equal(before)


@pytest.mark.parametrize("with_adapter", [False, True])
def test_a_value_model_from_a_reward_model_starts_as_it_and_leaves_it(with_adapter: bool) -> None:
    reward = tiny.reward_model()
    if with_adapter:
        reward = lora.stirred(adapters.adapt(reward, lora.LORA, 0))
    before = score(reward, GROUPS, read="value").value_NT.detach()
    value = adapters.value_model_from(reward, lora.LORA, seed=1)
    torch.testing.assert_close(score(value, GROUPS, read="value").value_NT, before, rtol=0, atol=1e-12)
    own = [p for p in value.parameters() if p.requires_grad]
    assert not {id(p) for p in own} & {id(p) for p in reward.parameters()}
    assert len(own) == 2 * 2 * 7 + 1  # A and B of seven layers, twice, and the head
    with torch.no_grad():
        for p in own:
            p.add_(0.1)
    assert score(reward, GROUPS, read="value").value_NT.equal(before)


# Files


def written(folder: Path, model: Any) -> Path:
    """The folder as a step leaves it."""
    save(folder, adapters.merged(model), tiny.tokenizer(), "")
    adapters.save(folder / adapters.FOLDER, model)
    return folder


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_exported_is_plain_and_equal(family: str, tmp_path: Path) -> None:
    """Weights of deviation 0.1: with 0.3 one model in fp32 differs from itself in float64 by 5e-6."""

    def base() -> Any:
        return tiny.policy(family, dtype=torch.float32, initializer_range=0.1)

    policy = lora.stirred(adapters.adapt(base(), lora.LORA, 0), size=0.1)
    folder, x = written(tmp_path / "out", policy), ids(3, 20)
    plain = AutoModelForCausalLM.from_pretrained(str(folder))
    with torch.no_grad():
        found, wanted, before = (m(input_ids=x).logits for m in (plain, policy, base()))
    assert (found - wanted).abs().max() < 1e-6 and (found - before).abs().max() > 0.01
    assert not any("lora" in name for name, _ in plain.named_modules())
    assert {n for n, _ in plain.named_parameters()} == {n for n, _ in tiny.policy(family).named_parameters()}


def test_peft_itself_reads_the_adapter(tmp_path: Path) -> None:
    from peft import PeftModel

    for policy in (lora.stirred(lora.policy(torch.float32)), lora.stirred(lora.policy(torch.float32, "gpt2"))):
        folder = written(tmp_path / policy.config.model_type, policy)
        base = tiny.policy(policy.config.model_type, dtype=torch.float32)
        read = PeftModel.from_pretrained(base, str(folder / adapters.FOLDER))
        x = ids(2, 9)
        torch.testing.assert_close(read(input_ids=x).logits, policy(input_ids=x).logits, rtol=0, atol=1e-6)


def test_the_same_adapter_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        adapters.save(tmp_path / name, lora.stirred(lora.policy(torch.float32)))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    listed = json.loads((tmp_path / "one" / "adapter_config.json").read_text())["target_modules"]
    assert listed == sorted(listed)


def trained_reward(folder: Path, base: Path) -> Path:
    """A reward model with an adapter over `base`, written as its step writes it."""
    model = heads.reward_model_from(load_policy(base), tiny.tokenizer(), seed=4)
    heads.normalise(lora.stirred(adapters.adapt(model, lora.LORA, 3)), 0.4, 2.0)
    return written(folder, model)


def test_a_reward_adapter_over_the_same_base_stands_on_the_policys_trunk(tmp_path: Path) -> None:
    base, other = tmp_path / "base", tmp_path / "other"
    save(base, tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    save(other, tiny.policy(dtype=torch.float32, seed=9), tiny.tokenizer(), "")
    folder = trained_reward(tmp_path / "reward", base)
    policy = lora.stirred(adapters.adapt(load_policy(base), lora.LORA, 0))
    found, whole = adapters.load_reward(folder, policy), load_reward_model(folder)
    assert adapters.shares(found, policy) and not any(p.requires_grad for p in found.parameters())
    wanted = score(whole, GROUPS).reward_N
    torch.testing.assert_close(score(found, GROUPS).reward_N, wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 0.1
    for stranger in (adapters.adapt(load_policy(other), lora.LORA, 0), load_policy(base), None):
        alone = adapters.load_reward(folder, stranger)
        assert not adapters.adapted(alone)
        torch.testing.assert_close(score(alone, GROUPS).reward_N, wanted, rtol=0, atol=1e-6)


# Memory


@pytest.mark.parametrize("answers", [1, 4])
@pytest.mark.parametrize("targets", [(), ("q_proj", "v_proj"), ("down_proj",)])
def test_expected_activations_are_what_autograd_keeps(targets: tuple[str, ...], answers: int) -> None:
    adapter = Adapter(rank=8, targets=targets)
    module, groups = adapters.adapt(model(), adapter, 0), long_groups(answers)
    found = expected([module], [], groups)
    assert 0.75 * kept(module, groups) < found.activations < 1.35 * kept(module, groups)


def test_a_frozen_weight_has_no_gradient_and_no_moments_and_counts_once() -> None:
    """Twelve bytes a number that is trained; the base, which three models stand on, once."""
    policy = adapters.adapt(model(), Adapter(rank=2), 0)
    base, critic = adapters.off(policy), adapters.value_model_on(policy, tiny.tokenizer(), Adapter(rank=2), 1)
    low = 2 * 4 * (4 * (64 + 64) + 3 * (64 + 176))
    whole = sum(p.numel() for p in base.parameters())
    found = expected([policy, critic], [base], long_groups(1))
    assert found.optimiser == 12 * (2 * low + 64)
    assert found.weights == 4 * (whole + 2 * low + 64)
    assert found.logits == expected([model()], [], long_groups(1)).logits - 4 * 300 * 64
