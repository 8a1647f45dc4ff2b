"""The plain forward: one padded row an answer, each with its own copy of the prompt.

What a model is run by that no layout fits (recurrent layers, attention of its own), and the oracle that
the packed row is tested against.
Q = N x S places of all rows, N answers, S row positions, T answer positions, M answer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assent.data.collate import TokenGroup, collate
from assent.engine.attention import trunk
from assent.engine.precision import autocast


class Padded:
    """Same fields as `Packed`."""

    def __init__(self, groups: Sequence[TokenGroup], device: torch.device | str) -> None:
        self._rows = rows = collate(groups).to(device)
        width = rows.ids_NS.shape[1]
        place_NT = torch.arange(len(rows.ids_NS), device=device)[:, None] * width + torch.arange(
            rows.prompt_width, width, device=device
        )
        self.mask_NT = rows.answer_mask_NT
        self.before_M = place_NT[self.mask_NT] - 1
        self.last_N = place_NT[:, 0] - 1 + self.mask_NT.sum(1)
        self.answer_ids_M = rows.answer_ids_NT[self.mask_NT]

    def hidden(self, model: Any) -> Tensor:
        """Hidden states [Q, H] of every place, with gradients."""
        with autocast(self._rows.ids_NS.device):
            out = trunk(model)(
                input_ids=self._rows.ids_NS,
                attention_mask=self._rows.attention_NS,
                position_ids=self._rows.positions_NS,
                use_cache=False,
            )
        hidden_QH: Tensor = out.last_hidden_state.flatten(0, 1)
        return hidden_QH

    def spread(self, x_M: Tensor) -> Tensor:
        """Values of the answer tokens as a table [N, T], 0 in the padding."""
        return x_M.new_zeros(self.mask_NT.shape).masked_scatter(self.mask_NT, x_M)
