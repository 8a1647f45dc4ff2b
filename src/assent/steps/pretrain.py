"""Train a small base model from nothing on plain text: it completes text, it does not answer."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from assent.config.blocks import LAB, LAB_SUMS
from assent.config.recipe import suggest
from assent.config.steps import PretrainConfig
from assent.core.errors import ConfigError, DataError
from assent.data.collate import TokenGroup
from assent.methods.sft import Sft
from assent.models.load import context_length, device, disable_dropout
from assent.steps.context import Context, lab_world
from assent.steps.export import export, in_order, plan
from assent.train.loop import run


def step(context: Context, config: PretrainConfig) -> dict[str, Any]:
    """Write the corpus, train, export."""
    from assent.lab.corpus import documents
    from assent.lab.model import architecture
    from assent.lab.tokenizer import tokenizer as lab_tokenizer

    if config.data == LAB:
        texts = documents(lab_world(context.run_seed), config.documents, context.seed_for("documents"))
    elif config.data == LAB_SUMS:
        from assent.lab import sums

        texts = sums.documents(config.documents, context.seed_for("documents"))
    else:
        from assent.formats.read import read_texts

        texts = read_texts(config.data)
    tokenizer = lab_tokenizer()
    rows = pack(texts, tokenizer, config.row_tokens)
    torch.manual_seed(context.seed_for("init"))
    model = _build({**architecture(), **config.model}, context.name)
    if config.row_tokens >= context_length(model):
        raise ConfigError(
            f"rows of {config.row_tokens + 1} tokens, but the model holds {context_length(model)}",
            where=f"{context.name}.row_tokens",
        )
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    disable_dropout(model.to(device()))
    parameters = sum(p.numel() for p in model.parameters())
    plan(
        context,
        [model],
        [],
        in_order(rows, config.batch_rows, config.steps, None),
        rows=len(rows),
        steps=config.steps,
        tokens=config.steps * config.batch_rows * config.row_tokens,
        parameters=parameters,
    )
    method = Sft(model, rows, config.optimiser, batch=config.batch_rows, steps=config.steps, seed=None)
    run(method, config.limits, context.folder, context.name)
    export(context, model, tokenizer, base=None)
    return {"parameters": parameters, "rows": len(rows), "steps": config.steps}


def _build(wanted: dict[str, Any], name: str) -> Any:
    """A model of an architecture, weights drawn; a misspelt key, which Hugging Face would take, is refused."""
    where = f"{name}.model"
    try:
        config = AutoConfig.for_model(**wanted)
        model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever it raises, the user can do the same about it
        raise ConfigError(f"is no architecture: {' '.join(str(error).split())[:300]}", where=where) from None
    known = type(config)().to_dict()
    for key in wanted:
        if key not in known:
            raise ConfigError(f"unknown key `{key}`{suggest(key, known)}", where=where)
    return model


def pack(texts: list[str], tokenizer: Any, row_tokens: int) -> list[TokenGroup]:
    """Join documents, each between BOS and EOS, and cut the stream into rows of `row_tokens`."""
    stream: list[int] = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        stream += [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    rows = [stream[i : i + row_tokens + 1] for i in range(0, len(stream) - row_tokens, row_tokens)]
    if not rows:
        raise DataError(
            f"{len(stream)} tokens of text make no row of {row_tokens}", fix="more text, or a smaller row_tokens"
        )
    return [TokenGroup(f"row {i}", (row[0],), (tuple(row[1:]),), (f"row {i}",)) for i, row in enumerate(rows)]
