"""GRPO: the policy against its reward, each answer compared with its siblings."""

from __future__ import annotations

from typing import Any

from assent.config.steps import GrpoConfig
from assent.methods.grpo import Grpo
from assent.steps import online
from assent.steps.context import Context


def step(context: Context, config: GrpoConfig) -> dict[str, Any]:
    """Train by the answers' leads over their siblings; the reference is asked where KL is charged."""
    return online.train(context, config, Grpo, refers=config.kl.coef > 0)
