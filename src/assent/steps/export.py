"""What every training step does around its loop: print a plan, export the model with its card."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import torch

from assent.core.console import log
from assent.models.load import save
from assent.steps.context import Context


def plan(context: Context, trained: Sequence[Any], frozen: Sequence[Any] = (), **numbers: Any) -> None:
    """Print the derived numbers of a step before it trains, and what memory its models take.

    A trained parameter takes 16 bytes in fp32 (weight, gradient, two moments of Adam), a frozen one 4;
    activations come on top and are bounded by `limits.token_budget`.
    """
    shown = [f"{name.replace('_', ' ')} {value:,}" for name, value in numbers.items()]
    needed = sum(16 * _size(m) for m in trained) + sum(4 * _size(m) for m in frozen)
    shown.append(f"models in memory {needed / 2**20:,.1f} MiB")
    log.print(f"  {context.name}: {', '.join(shown)}", style="dim")
    if (there := _memory()) and needed > 0.9 * there:
        log.print(
            f"  {context.name}: the models alone need {needed / 2**30:.1f} GiB of {there / 2**30:.1f} GiB; "
            "take a smaller model, or expect to run out of memory",
            style="yellow",
        )


def _size(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _memory() -> int | None:
    """Bytes of memory where the models run: of the GPU, else of the machine; None where it does not tell."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def export(context: Context, model: Any, tokenizer: Any, base: str | None) -> None:
    """Write the model as a plain Hugging Face folder with a model card."""
    from assent.report.card import CardData, model_card

    config = context.config
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
    try:
        save(context.weights, model, tokenizer, model_card(card))
    except Exception as error:  # on a full disk, libraries written in Rust raise exceptions of their own
        found = re.search(r"os error (\d+)", str(error))
        if not found:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(context.weights)) from None
