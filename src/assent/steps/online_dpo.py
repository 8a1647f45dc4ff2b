"""Online DPO: the policy against its reward, the better of its own answers preferred to the worse."""

from __future__ import annotations

from typing import Any

from assent.config.steps import OnlineDpoConfig
from assent.methods.online_dpo import OnlineDpo
from assent.methods.preference import FAMILY
from assent.steps import online
from assent.steps.context import Context


def step(context: Context, config: OnlineDpoConfig) -> dict[str, Any]:
    """Train on pairs of fresh answers; the reference is asked where the loss has one."""
    return online.train(context, config, OnlineDpo, refers=FAMILY[config.loss].reference)
