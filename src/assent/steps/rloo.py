"""RLOO: the policy against its reward, the mean of an answer's siblings as its baseline."""

from __future__ import annotations

from typing import Any

from assent.config.steps import RlooConfig
from assent.methods.rloo import Rloo
from assent.steps import online
from assent.steps.context import Context


def step(context: Context, config: RlooConfig) -> dict[str, Any]:
    """Train by the answers' leads over the others; the reference is asked where KL is charged."""
    return online.train(context, config, Rloo, refers=config.kl.coef > 0)
