"""What every training step does around its loop: print a plan, export the model with its card."""

from __future__ import annotations

import os
import re
from typing import Any

from assent.core.console import log
from assent.models.load import save
from assent.steps.context import Context


def plan(context: Context, **numbers: Any) -> None:
    """Print the derived numbers of a step before it trains."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name.replace('_', ' ')} {value}"
                      for name, value in numbers.items())
    log.print(f"  {context.name}: {shown}", style="dim")


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
