"""Which way a model is run: packed where it proves that it can be, else row by row.

A flag of transformers says that a family takes attention from outside; whether it does so in every layer
is tried, once a model, on three short answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from assent.core.console import log
from assent.data.collate import TokenGroup
from assent.engine import attention
from assent.engine.mlp import swap_mlps
from assent.engine.norm import swap_norms
from assent.engine.packed import Packed
from assent.engine.padded import Padded
from assent.engine.precision import WIDE, compute_dtype
from assent.engine.rotary import swap_attention

TRIAL = (
    TokenGroup("trial", (3, 1, 4, 1), ((5, 2), (6, 5, 3), (5,)), ("a", "b", "c")),
    TokenGroup("trial 2", (2,), ((7, 1, 2, 3, 5),), ("d",)),
)
SAME, SAME_HALF = 1e-3, 0.1
"""Largest relative difference of hidden states that is rounding, in fp32 and in half precision."""


def row_of(model: Any, groups: Sequence[TokenGroup]) -> Packed | Padded:
    """The row in which `model` computes these groups."""
    device = next(iter(model.parameters())).device
    return Packed(groups, device) if packs(model) else Padded(groups, device)


def packs(model: Any) -> bool:
    """Whether the model gives the same on a packed row as row by row; found out at its first use."""
    if not hasattr(model, "assent_packs"):
        model.assent_packs = _try(model)
        if not model.assent_packs:
            name = type(model).__name__
            log.print(f"  {name} takes no attention from outside: its prompts are computed once an answer", style="dim")
    return bool(model.assent_packs)


@torch.no_grad()
def _try(model: Any) -> bool:
    swap_norms(model)
    swap_mlps(model)
    config = model.config.get_text_config()
    if getattr(config, "attention_chunk_size", None):
        return False  # chunks show in masks only, and only in rows longer than any trial
    before = config._attn_implementation
    device = next(iter(model.parameters())).device
    plain, packed = Padded(TRIAL, device), Packed(TRIAL, device)
    wanted = plain.hidden(model)[torch.cat([plain.before_M, plain.last_N])]
    try:
        attention.adopt(model)
        swap_attention(model)
        found = packed.hidden(model)[torch.cat([packed.before_M, packed.last_N])]
        gap = float((found - wanted).float().norm() / wanted.float().norm())
    except Exception:  # whatever a foreign model raises, it says: not this way
        gap = float("inf")
    if gap < (SAME if compute_dtype(model) in WIDE else SAME_HALF):
        return True
    model.set_attn_implementation(before)
    return False
