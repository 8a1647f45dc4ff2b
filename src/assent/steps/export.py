"""What every training step does around its loop: print a plan, export the model with its card."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from assent.config.blocks import Limits
from assent.core.console import log
from assent.data.collate import TokenGroup
from assent.data.tokens import end_of_turn
from assent.engine import memory, ranks, room
from assent.engine.budget import own_pieces
from assent.engine.memory import Memory
from assent.methods.sft import window
from assent.models import adapters
from assent.models.load import device, save, stop_ids
from assent.steps.context import Context

PLANNED = 64
"""Optimiser steps whose micro-batches are looked at before training: the largest decides what is needed."""


def plan(
    context: Context,
    trained: Sequence[nn.Module],
    frozen: Sequence[nn.Module],
    batches: Sequence[Sequence[TokenGroup]],
    cached: int = 0,
    **numbers: Any,
) -> None:
    """Print the derived numbers of a step before it trains, and whether it is expected to fit in memory.

    `batches` hold the groups of some optimiser steps, as large as they come; `cached` tokens are held while sampling.
    """
    shown = [f"{name.replace('_', ' ')} {value:,}" for name, value in numbers.items()]
    if any(map(adapters.adapted, trained)):
        shown.append(_low_rank(trained))
    if ranks.size() > 1:
        shown.append(f"{ranks.size()} processes, each with its own models")
    log.print(f"  {context.name}: {', '.join(shown)}", style="dim")
    limits: Limits = context.config.limits  # type: ignore[attr-defined]
    pieces = [[[batch[i] for i in piece] for piece in own_pieces(batch, limits.token_budget)] for batch in batches]
    largest = max((piece for batch in pieces for piece in batch), key=lambda piece: sum(g.tokens for g in piece))
    need = partial(memory.expected, trained, frozen, largest, cached=cached)
    peak = need(checkpointing=limits.activation_checkpointing)
    # What the models hold already is no longer free; of processes on one machine each has its own.
    sharing = 1 if device().type == "cuda" else ranks.here()
    free = room.available(device())
    there = None if free is None else free // sharing + peak.weights
    cut = f"micro-batches a step {max(map(len, pieces))}, tokens in one {sum(g.tokens for g in largest):,}"
    of = "" if there is None else f" of {room.size(there)}"
    log.print(f"  {context.name}: {cut}, expected peak {room.size(peak.total)}{of}", style="dim")
    if there is not None and peak.total > there:
        log.print(f"  {_advice(context.name, limits, peak, need(checkpointing=True), largest, there)}", style="yellow")


def _low_rank(trained: Sequence[nn.Module]) -> str:
    """How much of the models an adapter trains."""
    every = {id(p): p for module in trained for p in module.parameters()}.values()
    learns = sum(p.numel() for p in every if p.requires_grad)
    return f"weights trained {learns:,} of {sum(p.numel() for p in every):,}"


def _advice(name: str, limits: Limits, peak: Memory, recomputed: Memory, piece: list[TokenGroup], there: int) -> str:
    """Which setting would make it fit."""
    budget, recompute = f"{name}.limits.token_budget", f"{name}.limits.activation_checkpointing=true"
    ways = []
    if fitting := memory.largest_budget(peak, piece, there):
        ways.append(f"{budget}={fitting}")
    if not limits.activation_checkpointing and recomputed.total <= there:
        ways.append(recompute)
    elif not limits.activation_checkpointing and (fitting := memory.largest_budget(recomputed, piece, there)):
        ways.append(f"{recompute} with {budget}={fitting}")
    fix = f"set {', or '.join(ways)}" if ways else f"no {budget} makes it fit; take a smaller model or shorter rows"
    return (
        f"{name}: expected to run out of memory, as it needs {room.size(peak.total)} and has {room.size(there)}: {fix}"
    )


def in_order(groups: Sequence[TokenGroup], batch: int, steps: int, seed: int | None) -> list[list[TokenGroup]]:
    """The first optimiser steps' groups, as methods that read their data in passes will take them."""
    steps = min(steps, PLANNED)
    chosen = [groups[i] for i in window(len(groups), batch * steps, 0, seed)]
    return [chosen[i : i + batch] for i in range(0, len(chosen), batch)]


def export(context: Context, model: Any, tokenizer: Any, base: str | None, folder: Path | None = None) -> None:
    """Write the model as a plain Hugging Face folder with a model card; of several ranks the first does.

    An adapter is merged into the model, and stands beside it alone. `folder`: another than the step's own.
    """
    from assent.report.card import CardData, model_card

    config, folder = context.config, folder or context.weights
    reads = [f"{name}: {folder.name}" for name, folders in context.inputs.items() for folder in folders]
    data = getattr(config, "data", None)
    card = CardData(
        name=context.name,
        summary=f"Made by the `{config.kind}` step of an Assent recipe, seed {context.seed}.",
        licence="see the base model's and the data's licences" if base else "apache-2.0",
        base_model=base,
        pipeline_tag="text-classification" if config.kind == "reward" else "text-generation",
        training_data=tuple(reads) + ((f"data: {data}",) if data else ()),
        limits=("What was measured is in the run's report; nothing beyond it is claimed.",),
    )
    model.config.use_cache = True
    if not ranks.is_first():
        return
    try:
        whole = adapters.merged(model)
        if config.kind != "reward":
            _stop_where_we_do(whole, tokenizer)
        save(folder, whole, tokenizer, model_card(card))
        if adapters.adapted(model):
            adapters.save(folder / adapters.FOLDER, model)
    except Exception as error:  # on a full disk, libraries written in Rust raise exceptions of their own
        found = re.search(r"os error (\d+)", str(error))
        if not found:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) from None


def _stop_where_we_do(model: Any, tokenizer: Any) -> None:
    """Servers end an answer where generation_config.json says: it must name the token that ends a turn here."""
    known, end = stop_ids(model, tokenizer), end_of_turn(tokenizer)
    if end not in known:
        model.generation_config.eos_token_id = [*known, end]
