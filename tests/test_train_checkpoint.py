"""Checkpoints: every bit comes back, and a damaged one is said to be."""

import copy
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tiny
import tiny_methods as made
from assent.core.errors import ArtifactError
from assent.train import checkpoint
from assent.train.loop import update
from assent.train.optimiser import adamw


def trained(dtype: torch.dtype = torch.float32, value: str = "separate"):
    """A method with two modules after one update of each, and its optimisers."""
    method = made.ppo(dtype, value={"trunk": value}, epochs=1, minibatches=1)
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    for batch in method.batches(0):
        batch.result = update(method, optimisers, batch, 10**6)
    method.observe(0)
    return method, optimisers


def fresh(dtype: torch.dtype = torch.float32, value: str = "separate"):
    other = tiny.policy(seed=9, dtype=dtype)
    method = made.ppo(dtype, value={"trunk": value}, epochs=1, minibatches=1, policy=other)
    return method, {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", ["separate", "shared"])
def test_weights_moments_and_states_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype, value: str) -> None:
    method, optimisers = trained(dtype, value)
    checkpoint.save(tmp_path, 4, method.modules, optimisers, method.state(), {"best": 0.1})
    other, empty = fresh(dtype, value)
    header = checkpoint.load(tmp_path, other.modules, empty)
    assert header["step"] == 4 and header["method"] == method.state() and header["extra"] == {"best": 0.1}
    for name, module in method.modules.items():
        pairs = zip(module.parameters(), other.modules[name].parameters(), strict=True)
        for ours, its in pairs:
            assert ours.equal(its)
            left, right = optimisers[name].state[ours], empty[name].state[its]
            assert left.keys() == right.keys() == {"step", "exp_avg", "exp_avg_sq"}
            assert all(left[k].equal(right[k]) and left[k].dtype == right[k].dtype for k in left)


def test_the_next_step_is_the_same_bits(tmp_path: Path) -> None:
    method, optimisers = trained()
    checkpoint.save(tmp_path, 1, method.modules, optimisers, method.state(), {})
    other, empty = fresh()
    other.load_state(checkpoint.load(tmp_path, other.modules, empty)["method"])
    for one, its in ((method, optimisers), (other, empty)):
        for batch in one.batches(1):
            batch.result = update(one, its, batch, 10**6)
        one.observe(1)
    assert method.state() == other.state() and method.state()["episodes"] == 16
    for ours, its in zip(method.policy.parameters(), other.policy.parameters(), strict=True):
        assert ours.equal(its)


def test_every_random_state_comes_back(tmp_path: Path) -> None:
    method, optimisers = trained()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    random.gauss(0, 1), np.random.standard_normal()  # both keep a second number in hand
    checkpoint.save(tmp_path, 1, method.modules, optimisers, {}, {})
    drawn = [
        random.gauss(0, 1),
        random.random(),
        np.random.standard_normal(),
        np.random.rand(),
        torch.rand(3).tolist(),
    ]
    random.seed(4), np.random.seed(5), torch.manual_seed(6)
    checkpoint.load(tmp_path, method.modules, optimisers)
    again = [
        random.gauss(0, 1),
        random.random(),
        np.random.standard_normal(),
        np.random.rand(),
        torch.rand(3).tolist(),
    ]
    assert again == drawn


def test_frozen_parameters_are_not_kept(tmp_path: Path) -> None:
    method, optimisers = trained()
    method.policy.get_input_embeddings().weight.requires_grad_(False)
    checkpoint.save(tmp_path, 1, method.modules, optimisers, {}, {})
    kept = load_file(tmp_path / checkpoint.FILE)
    assert not [key for key in kept if "policy/model.embed_tokens" in key]
    assert checkpoint.load(tmp_path, method.modules, optimisers)["step"] == 1


def test_none_yet_and_none_any_more(tmp_path: Path) -> None:
    method, optimisers = fresh()
    assert checkpoint.load(tmp_path, method.modules, optimisers) is None
    checkpoint.save(tmp_path, 1, method.modules, optimisers, {}, {})
    checkpoint.remove(tmp_path)
    checkpoint.remove(tmp_path)
    assert checkpoint.load(tmp_path, method.modules, optimisers) is None


def rewritten(path: Path, change) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["assent"])
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata={"assent": json.dumps(header)})


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "other bytes": lambda path: path.write_bytes(b"\x80" + b"no checkpoint" * 99),
    "no header": lambda path: save_file(load_file(path), path),
    "half a header": lambda path: rewritten(path, lambda tensors, header: header.pop("method")),
    "no random state": lambda path: rewritten(path, lambda tensors, header: header.pop("rng")),
    "a tensor lost": lambda path: rewritten(path, lambda tensors, header: tensors.pop("module/policy/lm_head.weight")),
    "a tensor too many": lambda path: rewritten(path, lambda t, header: t.update({"module/x/y": torch.zeros(1)})),
    "another shape": lambda path: rewritten(  # one that copy_ would broadcast
        path, lambda tensors, header: tensors.update({"module/policy/lm_head.weight": torch.zeros(16)})
    ),
    "another dtype": lambda path: rewritten(
        path, lambda t, header: t.update({k: v.half() for k, v in t.items() if k.startswith("module/policy")})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_one_clear_message(tmp_path: Path, damage: str) -> None:
    method, optimisers = trained()
    checkpoint.save(tmp_path, 1, method.modules, optimisers, method.state(), {})
    DAMAGE[damage](tmp_path / checkpoint.FILE)
    with pytest.raises(ArtifactError, match="damaged checkpoint") as caught:
        checkpoint.load(tmp_path, method.modules, optimisers)
    assert str(tmp_path / checkpoint.FILE) in str(caught.value) and "delete it" in str(caught.value)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_in_the_middle_leaves_the_old_one(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, optimisers = trained()
    checkpoint.save(tmp_path, 1, method.modules, optimisers, method.state(), {})
    before = (tmp_path / checkpoint.FILE).read_bytes()
    changed = copy.deepcopy(method.modules)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*(("os.fsync", full) if call == "fsync" else (Path, "replace", full)))
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(
                tmp_path, 2, changed, {name: adamw(m, made.OPTIMISER) for name, m in changed.items()}, {}, {}
            )
    assert (tmp_path / checkpoint.FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]  # nothing half-written beside it


def test_tied_weights_are_kept_once_and_stay_tied(tmp_path: Path) -> None:
    method = made.ppo(torch.float32, policy=tiny.policy("llama-tied-gqa", dtype=torch.float32))
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    checkpoint.save(tmp_path, 1, method.modules, optimisers, {}, {})
    assert "module/policy/lm_head.weight" not in load_file(tmp_path / checkpoint.FILE)
    other = made.ppo(torch.float32, policy=tiny.policy("llama-tied-gqa", seed=9, dtype=torch.float32))
    empty = {name: adamw(module, other.optimisers[name]) for name, module in other.modules.items()}
    checkpoint.load(tmp_path, other.modules, empty)
    assert other.policy.lm_head.weight is other.policy.get_input_embeddings().weight
    assert other.policy.lm_head.weight.equal(method.policy.lm_head.weight)
