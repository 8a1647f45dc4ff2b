"""Score given answers: log-probabilities, entropies, values, rewards, with gradients.

N answers (all groups' answers, in order), T answer positions (right-padded), S row positions, H hidden,
V vocabulary. Dividing the logits by the temperature happens here and in `sample`, so every pass agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from assent.data.collate import Rows, TokenGroup, collate
from assent.models import heads
from assent.ops.logprobs import entropy as entropy_of
from assent.ops.logprobs import token_logp

REWARD, VALUE = "reward", "value"


class Scores(NamedTuple):
    """What a pass over N answers gives. `mask_NT` is True on real answer tokens, EOS included."""

    mask_NT: Tensor
    logp_NT: Tensor | None = None
    entropy_NT: Tensor | None = None
    value_NT: Tensor | None = None
    reward_N: Tensor | None = None


def score(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    value_head: nn.Linear | None = None,
    read: str = REWARD,
) -> Scores:
    """One differentiable pass over all answers of `groups`.

    A causal language model gives `logp_NT` (and `entropy_NT` when asked, `value_NT` with a head).
    A sequence classifier gives `reward_N`, or `value_NT` with `read="value"`: the value *before* token t
    is emitted. A row scores the same alone, in a batch, and however it is padded (1e-5 in fp32).
    """
    rows = collate(groups).to(_device(model))
    hidden_NSH = model.base_model(
        input_ids=rows.ids_NS, attention_mask=rows.attention_NS, position_ids=rows.positions_NS, use_cache=False
    ).last_hidden_state
    before_NTH = hidden_NSH[:, rows.prompt_width - 1 : -1]
    if getattr(model.config, "num_labels", None) == 1 and hasattr(model, "score"):
        return _head_scores(model, rows, hidden_NSH, before_NTH, read)
    logits_NTV = lm_logits(model, before_NTH)
    return Scores(
        mask_NT=rows.answer_mask_NT,
        logp_NT=token_logp(logits_NTV, rows.answer_ids_NT, temperature).masked_fill(~rows.answer_mask_NT, 0.0),
        entropy_NT=entropy_of(logits_NTV, temperature) if entropy else None,
        value_NT=value_head(before_NTH).squeeze(-1) if value_head is not None else None,
    )


def _head_scores(model: Any, rows: Rows, hidden_NSH: Tensor, before_NTH: Tensor, read: str) -> Scores:
    """Head at the last answer token (reward), or before each answer token (value)."""
    if read == VALUE:
        return Scores(rows.answer_mask_NT, value_NT=heads.head(model)(before_NTH).squeeze(-1) + heads.shift(model))
    last_N = rows.prompt_width + rows.answer_mask_NT.sum(1) - 1
    last_NH = hidden_NSH[torch.arange(len(last_N), device=last_N.device), last_N]
    return Scores(rows.answer_mask_NT, reward_N=heads.head(model)(last_NH).squeeze(-1) + heads.shift(model))


def lm_logits(model: Any, hidden_NTH: Tensor) -> Tensor:
    """Logits from hidden states, with the few extra steps some families take after the head."""
    logits_NTV = model.get_output_embeddings()(hidden_NTH)
    config = model.config.get_text_config()
    if scaling := getattr(config, "logits_scaling", None):
        logits_NTV = logits_NTV / scaling
    if scale := getattr(config, "logit_scale", None):
        logits_NTV = logits_NTV * scale
    if cap := getattr(config, "final_logit_softcapping", None):
        logits_NTV = cap * torch.tanh(logits_NTV / cap)
    return logits_NTV


def score_all(model: Any, groups: Sequence[TokenGroup], token_budget: int, **options: Any) -> Scores:
    """`score` without gradients over any number of groups, cut by a token budget; results in input order."""
    parts: list[tuple[list[int], Scores]] = []
    first = _first_answer(groups)
    with torch.no_grad():
        for piece in cut(groups, token_budget):
            scores = score(model, [groups[i] for i in piece], **options)
            parts.append(([r for i in piece for r in range(first[i], first[i + 1])], scores))
    return _join(parts, first[-1])


def _first_answer(groups: Sequence[TokenGroup]) -> list[int]:
    """Index of each group's first answer among all answers, and the total."""
    first = [0]
    for group in groups:
        first.append(first[-1] + len(group.answers))
    return first


def _join(parts: list[tuple[list[int], Scores]], n: int) -> Scores:
    """Put the answers of several passes into one table, padded to the longest."""
    width = max(scores.mask_NT.shape[1] for _, scores in parts)
    joined: dict[str, Tensor | None] = {}
    for name in Scores._fields:
        example = getattr(parts[0][1], name)
        if example is None:
            joined[name] = None
            continue
        shape = (n,) if example.dim() == 1 else (n, width)
        table = torch.zeros(shape, dtype=example.dtype, device=example.device)
        for index, scores in parts:
            piece = getattr(scores, name)
            if piece.dim() == 1:
                table[index] = piece
            else:
                table[index, : piece.shape[1]] = piece
        joined[name] = table
    return Scores(**joined)  # type: ignore[arg-type]


def cut(groups: Sequence[TokenGroup], token_budget: int) -> list[list[int]]:
    """Indices of `groups` in pieces of similar length whose padded size stays within the budget."""

    def width(i: int) -> tuple[int, int]:
        return len(groups[i].prompt_ids), max(len(a) for a in groups[i].answers)

    pieces: list[list[int]] = []
    current: list[int] = []
    rows = prompt = answer = 0
    for i in sorted(range(len(groups)), key=lambda i: sum(width(i))):
        p, a = width(i)
        wider = (max(prompt, p) + max(answer, a)) * (rows + len(groups[i].answers))
        if current and wider > token_budget:
            pieces.append(current)
            current, rows, prompt, answer = [], 0, 0, 0
        current.append(i)
        rows, prompt, answer = rows + len(groups[i].answers), max(prompt, p), max(answer, a)
    return [*pieces, current] if current else pieces


def _device(model: Any) -> torch.device:
    return next(iter(model.parameters())).device
