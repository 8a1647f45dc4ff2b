"""Tiny models with LoRA adapters, and methods that train them."""

from __future__ import annotations

from typing import Any

import torch

import tiny
import tiny_methods as made
from assent.config.blocks import Adapter, Sampling
from assent.engine.generate import LocalGenerator
from assent.methods.ppo import Ppo
from assent.models import adapters
from assent.rewards.total import TotalReward

LORA = Adapter(rank=3, alpha=6.0)


def policy(dtype: torch.dtype = torch.float64, family: str = "llama", seed: int = 7, **changes: Any) -> Any:
    """A fresh adapter on `tiny.policy`."""
    return adapters.adapt(tiny.policy(family, dtype=dtype), LORA.model_copy(update=changes), seed)


def stirred(model: Any, only: str = "", size: float = 0.3) -> Any:
    """B is no longer zero, in layers whose name holds `only`."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name and only in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype))
    return model


def ppo(dtype: torch.dtype = torch.float64, *, asked: int = 8, seed: int = 3, **changes: Any) -> Ppo:
    """Policy, reference and critic on one trunk, as the step puts them together with `value.init: policy`."""
    config = made.ppo_config(adapter=LORA.model_dump(), **changes)
    model = policy(dtype)
    model.generation_config.eos_token_id = made.STOP
    critic = None
    if config.value.trunk == "separate":
        critic = adapters.value_model_on(model, tiny.tokenizer(), LORA, seed=5)
    generator = LocalGenerator(model, tiny.tokenizer(), "tiny", Sampling(**config.sampling.model_dump()))
    total = TotalReward([("rule", made.ByRule(made.even_words), 1.0)])
    return Ppo(generator, adapters.off(model), total, critic, tiny.prompts(asked), config, seed)
