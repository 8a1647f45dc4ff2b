"""Groups packed into one row: every prompt once, no padding (DESIGN §6.1).

A group's first answer continues its prompt: together they are its stem. Its other answers are branches,
whose tokens see the prompt and what stands before them in their own answer. Linear layers, norms and the
head compute real tokens only. Why a row and not a cache that is fanned out: docs/decisions/0008.
Q tokens of the row, N answers, T answer positions, M answer tokens of all answers in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assent.data.collate import TokenGroup
from assent.engine.attention import forward
from assent.engine.blocks import Blocks, Branch


class Packed:
    """The row of some groups on one device."""

    def __init__(self, groups: Sequence[TokenGroup], device: torch.device | str) -> None:
        answers = [(i, answer) for i, group in enumerate(groups) for answer in group.answers]
        first = [n for n, (i, _) in enumerate(answers) if n == 0 or answers[n - 1][0] != i]
        prompts = [group.prompt_ids for group in groups]
        # Longest first, so that neighbours are of similar length.
        stems = sorted(range(len(groups)), key=lambda i: -len(prompts[i]) - len(answers[first[i]][1]))
        branches = sorted(set(range(len(answers))) - set(first), key=lambda n: (-len(answers[n][1]), n))
        ids: list[int] = []
        positions: list[int] = []
        prompt_end: dict[int, int] = {}
        places: dict[int, range] = {}
        for i in stems:
            ids += prompts[i]
            prompt_end[i] = len(ids) - 1
            places[first[i]] = range(len(ids), len(ids) + len(answers[first[i]][1]))
            ids += answers[first[i]][1]
            positions += range(len(ids) - len(positions))
        for n in branches:
            i, answer = answers[n]
            places[n] = range(len(ids), len(ids) + len(answer))
            ids += answer
            positions += range(len(prompts[i]), len(prompts[i]) + len(answer))
        # The token before an answer's first is the last of the prompt, which all answers of a group share.
        lines = [[prompt_end[i], *places[n]] for n, (i, _) in enumerate(answers)]

        def index(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        self.ids_Q, self.positions_Q = index(ids), index(positions)
        self.before_M = index([q for line in lines for q in line[:-1]])
        self.last_N = index([line[-1] for line in lines])
        self.answer_ids_M = index([t for _, answer in answers for t in answer])
        lengths_N = index([len(answer) for _, answer in answers])
        self.mask_NT = torch.arange(int(lengths_N.max()), device=device) < lengths_N[:, None]
        row_of = {i: row for row, i in enumerate(stems)}
        self._blocks = Blocks(
            [len(prompts[i]) + len(answers[first[i]][1]) for i in stems],
            [Branch(len(answers[n][1]), row_of[answers[n][0]], len(prompts[answers[n][0]])) for n in branches],
            device,
        )

    def hidden(self, model: Any) -> Tensor:
        """Hidden states of the row [Q, H] under `model`'s trunk, with gradients."""
        return forward(model, self.ids_Q, self.positions_Q, self._blocks)

    def spread(self, x_M: Tensor) -> Tensor:
        """Values of the answer tokens as a table [N, T], 0 in the padding."""
        return x_M.new_zeros(self.mask_NT.shape).masked_scatter(self.mask_NT, x_M)
