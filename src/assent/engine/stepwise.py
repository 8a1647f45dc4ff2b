"""Sampling for a model that no layout fits: Hugging Face's own growing cache, one copy of it per answer.

Prompts of one length stand together: with padding, recurrent layers would read it, and a query in it that sees
nothing can turn what others see into NaN.
N rows (answers that are being written).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from assent.engine.attention import trunk
from assent.engine.draw import Draws

Waiting = tuple[Sequence[int], Sequence[int]]
"""A prompt and the numbers of its answers."""


def run(model: Any, draws: Draws, waiting: Sequence[Waiting], token_budget: int) -> None:
    """Write all answers, batch by batch."""
    for length, alike in groupby(sorted(waiting, key=lambda w: len(w[0])), key=lambda w: len(w[0])):
        for batch in _batches(alike, length + draws.max_tokens, token_budget):
            _write(model, draws, batch)


def _batches(waiting: Iterator[Waiting], width: int, budget: int) -> list[list[Waiting]]:
    """Whole groups whose rows stay within the budget."""
    batches: list[list[Waiting]] = []
    rows = 0
    for prompt, answers in waiting:
        if not batches or (rows + len(answers)) * width > budget:
            batches.append([])
            rows = 0
        batches[-1].append((prompt, answers))
        rows += len(answers)
    return batches


def _write(model: Any, draws: Draws, batch: Sequence[Waiting]) -> None:
    """Prefill each prompt once, fan out to its answers, then one token at a time; finished rows leave."""
    device = next(iter(model.parameters())).device
    fan_N = torch.tensor([i for i, (_, answers) in enumerate(batch) for _ in answers], device=device)
    answer_N = torch.tensor([number for _, answers in batch for number in answers], device=device)
    prompts = torch.tensor([list(prompt) for prompt, _ in batch], device=device)
    cache = DynamicCache(config=model.config)
    out = trunk(model)(input_ids=prompts, past_key_values=cache, use_cache=True)
    cache.batch_select_indices(fan_N)
    hidden_NH = out.last_hidden_state[:, -1][fan_N]
    for position in range(draws.max_tokens):
        token_N, ended_N = draws.step(hidden_NH, answer_N, torch.full_like(answer_N, position))
        if bool(ended_N.all()):
            return
        if bool(ended_N.any()):
            keep = (~ended_N).nonzero().squeeze(1)
            answer_N, token_N = answer_N[keep], token_N[keep]
            cache.batch_select_indices(keep)
        place_N1 = torch.full_like(token_N, prompts.shape[1] + position)[:, None]
        out = trunk(model)(input_ids=token_N[:, None], position_ids=place_N1, past_key_values=cache, use_cache=True)
        hidden_NH = out.last_hidden_state[:, -1]
