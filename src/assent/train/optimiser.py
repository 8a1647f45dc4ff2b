"""AdamW for one module, with the schedule as a pure function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from assent.config.blocks import Optimiser

FLOOR = 1e-3
"""Linear and cosine schedules end at this share of the peak rate."""


def rate(config: Optimiser, step: int, steps: int) -> float:
    """Learning rate of `step` (0-based) of `steps`."""
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    progress = (step - warm) / max(1, steps - warm)
    shape = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.lr * (FLOOR + (1 - FLOOR) * shape)


def adamw(module: nn.Module, config: Optimiser) -> torch.optim.AdamW:
    """AdamW over a module's trained parameters; weight decay on matrices only."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.lr, betas=(0.9, config.beta2), eps=config.eps, fused=True
    )
