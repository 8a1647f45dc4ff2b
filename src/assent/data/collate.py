"""Groups of token ids to padded tensors: prompts padded left, answers right.

N answers (all groups' answers, in order), P prompt positions, T answer positions, S = P + T row positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

PAD = 0
"""Id written where there is no token. Any id would do: padding is known by length, never by its id."""


@dataclass(frozen=True)
class TokenGroup:
    """A prompt with several answers as token ids. Answer ids are trained on and scored, EOS included."""

    group_id: str
    prompt_ids: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    answer_ids: tuple[str, ...]
    """Ids of the answer records, in the order of `answers`."""

    @property
    def tokens(self) -> int:
        """Tokens that go through a model: the prompt's once, and every answer's."""
        return len(self.prompt_ids) + sum(map(len, self.answers))


class Rows(NamedTuple):
    """One row an answer: its prompt padded left, then the answer padded right.

    `attention_NS` is 1 on tokens and 0 on padding; `positions_NS` counts the tokens before, so that a row
    means the same however it is padded; `answer_mask_NT` is True on answer tokens, EOS included.
    """

    ids_NS: Tensor
    attention_NS: Tensor
    positions_NS: Tensor
    answer_ids_NT: Tensor
    answer_mask_NT: Tensor
    prompt_width: int

    def to(self, device: torch.device | str) -> Rows:
        """The same rows on a device."""
        return Rows(
            ids_NS=self.ids_NS.to(device),
            attention_NS=self.attention_NS.to(device),
            positions_NS=self.positions_NS.to(device),
            answer_ids_NT=self.answer_ids_NT.to(device),
            answer_mask_NT=self.answer_mask_NT.to(device),
            prompt_width=self.prompt_width,
        )


def collate(groups: Sequence[TokenGroup]) -> Rows:
    """All answers of `groups` as rows, each with its own copy of the prompt."""
    prompt_ids_NP, prompt_mask_NP = pad_left([group.prompt_ids for group in groups for _ in group.answers])
    answer_ids_NT, answer_mask_NT = pad_right([answer for group in groups for answer in group.answers])
    attention_NS = torch.cat([prompt_mask_NP, answer_mask_NT], dim=1).long()
    return Rows(
        ids_NS=torch.cat([prompt_ids_NP, answer_ids_NT], dim=1),
        attention_NS=attention_NS,
        positions_NS=(attention_NS.cumsum(1) - 1).clamp_min(0),
        answer_ids_NT=answer_ids_NT,
        answer_mask_NT=answer_mask_NT,
        prompt_width=prompt_ids_NP.shape[1],
    )


def pad_left(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """`ids_NP` (int64) and `mask_NP` (bool, True on tokens): the tokens stand at the right edge."""
    ids_NP, mask_NP = _empty(rows)
    width = ids_NP.shape[1]
    for n, row in enumerate(rows):
        ids_NP[n, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask_NP[n, width - len(row) :] = True
    return ids_NP, mask_NP


def pad_right(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """`ids_NT` (int64) and `mask_NT` (bool, True on tokens): the tokens stand at the left edge."""
    ids_NT, mask_NT = _empty(rows)
    for n, row in enumerate(rows):
        ids_NT[n, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask_NT[n, : len(row)] = True
    return ids_NT, mask_NT


def _empty(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    shape = (len(rows), max(len(row) for row in rows))
    return torch.full(shape, PAD, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
