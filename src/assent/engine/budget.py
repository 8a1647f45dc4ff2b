"""Many groups through the model: shared among ranks, cut by a token budget, scored, put back in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assent.data.collate import TokenGroup
from assent.engine import ranks
from assent.engine.score import Scores, score


def score_all(model: Any, groups: Sequence[TokenGroup], token_budget: int, **options: Any) -> Scores:
    """`score` without gradients over any number of groups, cut by a token budget; results in input order.

    Each rank scores its share; every rank gets all results.
    """
    parts: list[tuple[list[int], Scores]] = []
    first = _first_answer(groups)
    with torch.no_grad():
        for piece in own_pieces(groups, token_budget):
            scores = score(model, [groups[i] for i in piece], **options)
            parts.append(([r for i in piece for r in range(first[i], first[i + 1])], scores))
    if ranks.size() > 1:
        device = next(iter(model.parameters())).device
        parts = [(rows, _to(scores, device)) for rows, scores in ranks.gather([(r, _to(s, "cpu")) for r, s in parts])]
    return _join(parts, first[-1])


def own_pieces(groups: Sequence[TokenGroup], token_budget: int) -> list[list[int]]:
    """Indices of this rank's share of `groups`, in pieces as `cut` makes them; all of them where there is one rank."""
    own = ranks.share([group.tokens for group in groups])
    return [[own[i] for i in piece] for piece in cut([groups[i] for i in own], token_budget)]


def _to(scores: Scores, device: torch.device | str) -> Scores:
    return Scores(*(None if table is None else table.to(device) for table in scores))


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
    """Indices of `groups` in pieces of similar length and about equal size, within the budget of tokens.

    Tokens are those of the packed row: a group's prompt counts once. A group larger than the budget stays whole.
    """
    sizes = [group.tokens for group in groups]
    share = sum(sizes) / max(1, math.ceil(sum(sizes) / token_budget))
    pieces: list[list[int]] = []
    held = 0
    for i in sorted(range(len(groups)), key=lambda i: sizes[i] / len(groups[i].answers)):
        if not pieces or held >= share or held + sizes[i] > token_budget:
            pieces.append([])
            held = 0
        pieces[-1].append(i)
        held += sizes[i]
    return pieces
