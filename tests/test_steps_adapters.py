"""LoRA in every kind of step that trains, on the toy run: exports are plain, PPO stands on one base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import toy_run
from assent.artifacts.store import Store
from assent.models import adapters
from assent.models.load import load_policy, load_reward_model
from assent.train.tracking import read_metrics
from toy_run import SHORT, assent

LORA = {"adapter": {"rank": 4}}
GROUP = {"iterations": 2, "prompts": 4, "answers": 2, **SHORT, **LORA}
POLICY = {"from": {"policy": "sft", "reward": "reward"}}


def recipe(path: Path, **changes: dict[str, Any]) -> Path:
    """The toy recipe with an adapter in every step that trains from a model, and the other methods beside."""
    steps = {name: dict(settings) for name, settings in toy_run.RECIPE["steps"].items()}
    for name in ("sft", "reward", "ppo"):
        steps[name] |= LORA
    more = {
        "dpo": {"from": {"policy": "sft", "judgments": "collect"}, "batch": 16, **SHORT, **LORA},
        "grpo": {**POLICY, **GROUP, "kl": {"coef": 0.1}},
        "rloo": {**POLICY, **GROUP},
        "online_dpo": {**POLICY, **GROUP},
    }
    steps = {**{name: steps[name] for name in ("pretrain", "sft", "collect", "reward", "ppo")}, **more}
    steps = {name: {**settings, **changes.get(name, {})} for name, settings in steps.items()}
    path.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    return path


def test_every_method_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = toy_run.copy(tmp_path / "run", "pretrain")
    capsys.readouterr()
    assert assent("run", recipe(tmp_path / "r.yaml"), "--out", run) == 0, capsys.readouterr().err
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("weights trained") == 7
    assert said.count("reward: an adapter on the policy's base, which is held once") == 4
    assert said.count("KL to the reference is 0") == 4
    x = torch.randint(6, 60, (2, 12), generator=torch.Generator().manual_seed(0))
    sft = load_policy(run / "sft/weights")
    for step in ("ppo", "dpo", "grpo", "rloo", "online_dpo"):
        folder = run / step / "weights"
        plain = AutoModelForCausalLM.from_pretrained(str(folder))
        assert not any("lora" in name for name, _ in plain.named_parameters())
        assert (plain(input_ids=x).logits - sft(input_ids=x).logits).abs().max() > 1e-5, step
        base = json.loads((folder / adapters.FOLDER / adapters.BASE).read_text())["content"]
        assert base == adapters.fingerprint(run / "sft/weights")
        files = Store(run).manifest(step).files
        assert "weights/adapter/adapter_model.safetensors" in files
    AutoModelForSequenceClassification.from_pretrained(str(run / "reward/weights"))
    assert assent("run", recipe(tmp_path / "r.yaml"), "--out", run) == 0  # done before, its files as they were


def test_the_adapter_beside_the_export_is_the_export(tmp_path: Path) -> None:
    """Base and adapter by peft give the logits of the merged folder; so do reward models, less their shift."""
    from peft import PeftModel

    run = toy_run.copy(tmp_path / "run", "pretrain")
    assert assent("run", recipe(tmp_path / "r.yaml"), "--out", run, "--until", "reward") == 0
    x = torch.randint(6, 60, (2, 12), generator=torch.Generator().manual_seed(0))
    base = load_policy(run / "pretrain/weights")
    read = PeftModel.from_pretrained(base, str(run / "sft/weights/adapter"))
    merged = load_policy(run / "sft/weights")
    torch.testing.assert_close(read(input_ids=x).logits, merged(input_ids=x).logits, rtol=0, atol=1e-5)
    reward = load_reward_model(run / "reward/weights")
    trunk = AutoModelForSequenceClassification.from_pretrained(str(run / "sft/weights"), num_labels=1)
    trunk.config.pad_token_id = reward.config.pad_token_id
    read = PeftModel.from_pretrained(trunk.eval(), str(run / "reward/weights/adapter"))
    torch.testing.assert_close(read(input_ids=x).logits, reward(input_ids=x).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [{"trunk": "shared"}, {"init": "policy"}])
def test_ppo_with_other_critics_and_a_reward_model_without_adapter(
    value: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run.copy(tmp_path, "pretrain", "sft", "collect", "reward")
    changes = (f"ppo.value.{key}={setting}" for key, setting in value.items())
    assert assent("run", toy_run.recipe(), "ppo.adapter.rank=4", *changes, "--out", run, "--until", "ppo") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "reward: no adapter over the policy's base, so its model is held whole" in said
    figures = read_metrics(run / "ppo")
    assert abs(figures[0]["objective/kl"]) < 1e-3 and len(figures) == 2


def test_a_target_that_is_no_layer_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = toy_run.copy(tmp_path, "pretrain", "sft", "collect", "reward")
    made = ("run", toy_run.recipe(), "ppo.adapter.targets=[q_proj,value]", "--out", run, "--until", "ppo")
    assert assent(*made) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "`value` is no linear layer" in said and "q_proj, up_proj, v_proj" in said and "Traceback" not in said
