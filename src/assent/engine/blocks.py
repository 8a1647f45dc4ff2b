"""Attention over a packed row: padded blocks of sequences of similar length.

Stems are causal; a branch sees the first `prompt` tokens of its stem and its own tokens so far.
Q tokens of the row, Z places of a padded grid; I sequences of a grid or block, L places of a sequence,
P of its prompt; A heads, B key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from assent.engine.attention import How, dense

SIMILAR = 0.8
"""A sequence shorter than this share of its block's longest starts another block ..."""
SMALL = 2**17
"""... once the block holds this many query-key pairs; below it a kernel call costs more than the padding."""


class Branch(NamedTuple):
    """An answer beside its group's first: its length, the row of its stem, the length of its prompt."""

    length: int
    stem: int
    prompt: int


class Blocks:
    """Layout of a row that holds stems (lengths, longest first), then branches (longest first)."""

    def __init__(self, stems: Sequence[int], branches: Sequence[Branch], device: torch.device | str) -> None:
        self._stems = [(rows, stems[rows.start]) for rows in _similar([(n, n) for n in stems])]
        fans = _similar([(b.length, b.prompt + b.length) for b in branches])
        self._fans = [(rows, _Fan(branches[rows], device)) for rows in fans]
        lengths = [*stems, *(b.length for b in branches)]
        self._sizes = ((len(stems), stems[0]), (len(branches), branches[0].length if branches else 0))
        widths = [width for rows, width in self._sizes for _ in range(rows)]
        blocks = [*self._stems, *((rows, fan.longest) for rows, fan in self._fans)]
        outs = [longest for rows, longest in blocks for _ in range(rows.start, rows.stop)]
        self._grid_Z, self._real_Q = _grid(lengths, widths, device)
        _, self._out_Q = _grid(lengths, outs, device)

    def attend(self, layer: int, q_QAD: Tensor, k_QBD: Tensor, v_QBD: Tensor, how: How) -> Tensor:
        """Attention output [Q, A, D]: pad, attend block by block, take the real tokens out again."""
        (q, q_fan), (k, k_fan), (v, v_fan) = (self._pad(x) for x in (q_QAD, k_QBD, v_QBD))
        outs = []
        for rows, longest in self._stems:
            band = _band(longest, how.window, q.device)
            mine = [x[rows, :, :longest] for x in (q, k, v)]
            outs.append(dense(*mine, how, band, causal=band is None))
        for rows, fan in self._fans:
            own_q, own_k, own_v = (x[rows, :, : fan.longest] for x in (q_fan, k_fan, v_fan))
            outs.append(dense(own_q, fan.join(k, own_k), fan.join(v, own_v), how, fan.mask(how.window)))
        return _Take.apply(torch.cat([out.transpose(1, 2).flatten(0, 1) for out in outs]), self._out_Q)

    def _pad(self, x_QAD: Tensor) -> tuple[Tensor, Tensor]:
        """Stems [I, A, L, D] and branches [I, A, L, D], padded right with whatever is at hand."""
        padded_ZAD: Tensor = _Pad.apply(x_QAD, self._grid_Z, self._real_Q)
        (stems, longest), (branches, widest) = self._sizes
        heads = x_QAD.shape[1:]
        one, other = padded_ZAD.split([stems * longest, branches * widest])
        return (
            one.view(stems, longest, *heads).transpose(1, 2),
            other.view(branches, widest, *heads).transpose(1, 2),
        )


class _Fan:
    """Branches that attend together: to their prompts' keys and values, fanned out, and to their own."""

    def __init__(self, branches: Sequence[Branch], device: torch.device | str) -> None:
        self.longest = max(b.length for b in branches)
        self._prompt = max(b.prompt for b in branches)
        self._stem_I = torch.tensor([b.stem for b in branches], device=device)
        self._prompt_I = torch.tensor([b.prompt for b in branches], device=device)
        self._masks: dict[int | None, Tensor] = {}

    def join(self, stems_IBLD: Tensor, own_IBLD: Tensor) -> Tensor:
        """Keys or values of prompt and answer, [I, B, P + L, D]."""
        return torch.cat([stems_IBLD[:, :, : self._prompt].index_select(0, self._stem_I), own_IBLD], 2)

    def mask(self, window: int | None) -> Tensor:
        """True where a query of the branch sees a key, [I, 1, L, P + L]."""
        if window not in self._masks:
            device = self._prompt_I.device
            own_L, prompt_P = torch.arange(self.longest, device=device), torch.arange(self._prompt, device=device)
            lengths = self._prompt_I[:, None, None]
            sees_prompt = (prompt_P < lengths).expand(-1, self.longest, -1)
            sees_own = (own_L <= own_L[:, None]).expand(len(lengths), -1, -1)
            if window is not None:
                sees_prompt = sees_prompt & (lengths + own_L[:, None] - prompt_P < window)
                sees_own = sees_own & (own_L[:, None] - own_L < window)
            self._masks[window] = torch.cat([sees_prompt, sees_own], 2)[:, None]
        return self._masks[window]


def _band(longest: int, window: int | None, device: torch.device) -> Tensor | None:
    """Mask [L, L] of a sliding window, None where it is wider than the sequence."""
    if window is None or window >= longest:
        return None
    place_L = torch.arange(longest, device=device)
    distance_LL = place_L[:, None] - place_L
    return (distance_LL >= 0) & (distance_LL < window)


def _similar(sizes: Sequence[tuple[int, int]]) -> list[slice]:
    """Cut (queries, keys) of sequences, longest first, into blocks of similar length."""
    cuts, start, held = [], 0, 0
    for i, (queries, keys) in enumerate(sizes):
        if held >= SMALL and queries < SIMILAR * sizes[start][0]:
            cuts.append(slice(start, i))
            start, held = i, 0
        held += queries * keys
    return [*cuts, slice(start, len(sizes))] if sizes else []


def _grid(lengths: Sequence[int], widths: Sequence[int], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """For sequences that stand one after another, padded right to widths: the token at each place of the
    grid (padding repeats the last), and the place of each token."""
    length_I, width_I = torch.tensor(lengths), torch.tensor(widths)
    row_Z = torch.repeat_interleave(torch.arange(len(lengths)), width_I)
    place_Z = torch.arange(len(row_Z)) - (width_I.cumsum(0) - width_I)[row_Z]
    begin_Z = (length_I.cumsum(0) - length_I)[row_Z]
    grid_Z = begin_Z + torch.minimum(place_Z, length_I[row_Z] - 1).clamp_min(0)
    return grid_Z.to(device), (place_Z < length_I[row_Z]).nonzero().squeeze(1).to(device)


class _Pad(torch.autograd.Function):
    """Gather whose padding has no gradient: backward is a gather too, where autograd's own would add rows up."""

    @staticmethod
    def forward(ctx: Any, x_Q: Tensor, grid_Z: Tensor, real_Q: Tensor) -> Tensor:
        ctx.save_for_backward(real_Q)
        return x_Q.index_select(0, grid_Z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    """Take the real tokens out of a grid; the padding's gradient is 0."""

    @staticmethod
    def forward(ctx: Any, x_Z: Tensor, real_Q: Tensor) -> Tensor:
        ctx.save_for_backward(real_Q)
        ctx.size = len(x_Z)
        return x_Z.index_select(0, real_Q)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (real_Q,) = ctx.saved_tensors
        grad_Z = grads[0].new_zeros((ctx.size, *grads[0].shape[1:]))
        return grad_Z.index_copy_(0, real_Q, grads[0]), None
