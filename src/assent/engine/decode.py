"""Decoding: keys and values in fixed places, one token of every row a step.

A row is an answer that is being written. It sees its group's prompt, which is held once whatever the number of
answers, and its own tokens so far. A step is one packed row of tokens, so linear layers compute nothing else.
The memory a step reads is one stretch: processors fetch that ahead, and jumps from row to row take three times
as long. So places are added as rows get longer, and those that are still empty are read too, and masked.
G groups, P prompt places, K rows of a group; N rows, T own places; A heads, B key-value heads, R = A / B,
D head size; Q tokens of a packed row; S = P + T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from assent.engine.attention import How, forward
from assent.engine.blocks import Blocks

WIDER = 32
"""Own places added at once. To add costs a copy of the cache, to have more costs reading what is empty."""


class Held(NamedTuple):
    """Keys and values of one layer: of the prompts [G, B, P, D], and of the rows' own tokens [N, B, T, D]."""

    prompt_k: Tensor
    prompt_v: Tensor
    own_k: Tensor
    own_v: Tensor


class Cache:
    """Places for the keys and values of all layers, written in place."""

    def __init__(self) -> None:
        self.groups = self.longest = self.rows = self.width = 0
        self._layers: dict[int, Held] = {}

    def reserve(self, groups: int, longest: int, rows: int) -> None:
        """Make room for so many groups of prompts so long, and so many rows; what they hold already stays."""
        if groups > self.groups or longest > self.longest:
            self.groups, self.longest = groups, longest
        if rows > self.rows or 2 * rows < self.rows:  # longer prompts leave room for fewer rows
            self.rows = rows
        self._resize()

    def widen(self, width: int) -> None:
        """Make room for rows so long."""
        self.width = width
        self._resize()

    def _resize(self) -> None:
        self._layers = {layer: Held(*self._sized(held)) for layer, held in self._layers.items()}

    def fill(self, layer: int, slot_Q: Tensor, place_Q: Tensor, k_QBD: Tensor, v_QBD: Tensor) -> None:
        """Take a prompt pass's keys and values."""
        if layer not in self._layers:
            # Zeros, not empty: a masked place has weight 0, and 0 times what memory happens to hold may be NaN.
            k, v = (x.new_zeros((0, x.shape[1], 0, x.shape[2]), dtype=v_QBD.dtype) for x in (k_QBD, v_QBD))
            self._layers[layer] = Held(*self._sized(Held(k, v, k, v)))
        held = self._layers[layer]
        held.prompt_k[slot_Q, :, place_Q] = k_QBD.to(v_QBD.dtype)
        held.prompt_v[slot_Q, :, place_Q] = v_QBD

    def move(self, groups: Sequence[int], rows: Sequence[int]) -> None:
        """Close up: place i takes what place groups[i] (rows[i]) held."""
        for held in self._layers.values():
            for x, sources in zip(held, (groups, groups, rows, rows), strict=True):
                _move(x, sources)

    def __getitem__(self, layer: int) -> Held:
        return self._layers[layer]

    def _sized(self, held: Held) -> list[Tensor]:
        prompt, own = (self.groups, self.longest), (self.rows, self.width)
        return [_sized(x, *shape) for x, shape in zip(held, (prompt, prompt, own, own), strict=True)]


def _sized(x: Tensor, first: int, length: int) -> Tensor:
    if x.shape[0] == first and x.shape[2] == length:
        return x
    new = x.new_zeros((first, x.shape[1], length, x.shape[3]))
    kept = x[:first, :, :length]
    new[: kept.shape[0], :, : kept.shape[2]] = kept
    return new


def _move(x: Tensor, sources: Sequence[int]) -> None:
    moves = [(source, place) for place, source in enumerate(sources) if source != place]
    if moves:
        source, place = torch.tensor(moves, device=x.device).T
        x[place] = x[source]


class Prefill:
    """Layout of prompts (longest first) that stand one after another: causal, and the cache keeps what they leave."""

    def __init__(self, cache: Cache, lengths: Sequence[int], slots: Sequence[int], device: torch.device) -> None:
        self._cache, self._blocks = cache, Blocks(lengths, [], device)
        self._slot_Q = torch.tensor(slots).repeat_interleave(torch.tensor(lengths)).to(device)
        self.positions_Q = torch.cat([torch.arange(n) for n in lengths]).to(device)

    def attend(self, layer: int, q_QAD: Tensor, k_QBD: Tensor, v_QBD: Tensor, how: How) -> Tensor:
        """Attention output [Q, A, D]."""
        self._cache.fill(layer, self._slot_Q, self.positions_Q, k_QBD, v_QBD)
        return self._blocks.attend(layer, q_QAD, k_QBD, v_QBD, how)


class Decode:
    """Layout of a step: `seat` the rows whenever they change, then `forward` token by token."""

    def __init__(self, cache: Cache, max_tokens: int, device: torch.device) -> None:
        self._cache, self._max_tokens, self._device = cache, max_tokens, device

    def seat(self, group_of: Sequence[int], lengths: Sequence[int], positions: Sequence[int]) -> None:
        """Rows by the slot of their group, groups by the length of their prompt, and where each row stands."""
        counts, seats = [0] * len(lengths), []
        for group in group_of:
            seats.append(counts[group])
            counts[group] += 1
        self._most = max(counts)
        group_N, seat_N = torch.tensor(group_of), torch.tensor(seats)
        grid_GK = torch.zeros(len(lengths), self._most, dtype=torch.long)
        grid_GK[group_N, seat_N] = torch.arange(len(group_of))
        self._grid_GK, self._group_N, self._seat_N = (x.to(self._device) for x in (grid_GK, group_N, seat_N))
        self._length_N = torch.tensor(lengths, device=self._device)[self._group_N]
        self.position_N = torch.tensor(positions, device=self._device)
        self._reach = max(positions)
        self._into: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, model: Any, token_N: Tensor) -> Tensor:
        """Hidden states [N, H] behind one more token of every row."""
        self._reach = min(self._reach + 1, self._max_tokens)
        if self._reach > self._cache.width:
            self._cache.widen(min(self._cache.width + WIDER, self._max_tokens))
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor] = {}
        hidden_NH = forward(model, token_N, self._length_N + self.position_N, self)
        # A row that has ended and not yet left may stand beyond the end.
        self.position_N = (self.position_N + 1).clamp_max_(self._max_tokens - 1)
        return hidden_NH

    def attend(self, layer: int, q_QAD: Tensor, k_QBD: Tensor, v_QBD: Tensor, how: How) -> Tensor:
        """Attention output [N, A, D]: one softmax over the group's prompt and the row's own tokens.

        Two batched products each way: on CPUs, torch's fused attention takes twice the time for single queries.
        """
        (rows, heads, size), held = k_QBD.shape, self._cache[layer]
        keys, values = (self._write(x, new, heads) for x, new in ((held.own_k, k_QBD), (held.own_v, v_QBD)))
        q = (q_QAD * how.scale).to(values.dtype).reshape(rows * heads, -1, size)
        of_prompt = self._across(q, held.prompt_k.transpose(2, 3))
        scores = torch.cat([of_prompt, torch.bmm(q, keys.transpose(1, 2))], 2)
        if how.softcap is not None:
            scores = scores.div_(how.softcap).tanh_().mul_(how.softcap)
        scores.view(rows, -1, scores.shape[2]).add_(self._mask(how.window, scores.dtype))
        p = torch.softmax(scores, -1).to(values.dtype)
        longest = self._cache.longest
        out = self._across(p[:, :, :longest], held.prompt_v).add_(torch.bmm(p[:, :, longest:], values))
        return out.view(rows, -1, values.shape[2])

    def _across(self, x_NBRY: Tensor, y_GBYZ: Tensor) -> Tensor:
        """Product of every row's matrix with its group's [N*B, R, Z], group by group."""
        (groups, most), heads, (rows, repeats, _) = self._grid_GK.shape, y_GBYZ.shape[1], x_NBRY.shape
        into_GBK, out_NB = self._crossing(heads)
        x = x_NBRY.reshape(rows, -1).index_select(0, into_GBK).view(groups * heads, most * repeats, -1)
        y = torch.bmm(x, y_GBYZ[:groups].flatten(0, 1))
        return y.view(groups * heads * most, -1).index_select(0, out_NB).view(rows, repeats, -1)

    def _write(self, own_NBTD: Tensor, new_NBD: Tensor, heads: int) -> Tensor:
        """Put the new token in its place; all own places [N*B, T, D]."""
        if heads not in self._places:
            row_NB = torch.arange(len(new_NBD) * heads, device=self._device)
            place_NB = self.position_N.repeat_interleave(heads)
            self._places[heads] = row_NB * self._cache.width + place_NB
        rows, _, size = new_NBD.shape
        own_NBTD.view(-1, size).index_copy_(0, self._places[heads], new_NBD.reshape(-1, size).to(own_NBTD.dtype))
        return own_NBTD[:rows].flatten(0, 1)

    def _crossing(self, heads: int) -> tuple[Tensor, Tensor]:
        """From rows [N, B] to groups [G, B, K] and back."""
        if heads not in self._into:
            head_B = torch.arange(heads, device=self._device)
            into_GBK = self._grid_GK[:, None] * heads + head_B[:, None]
            out_NB = (self._group_N[:, None] * heads + head_B) * self._most + self._seat_N[:, None]
            self._into[heads] = into_GBK.flatten(), out_NB.flatten()
        return self._into[heads]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a row sees a place and -inf where not, [N, 1, S]."""
        if window not in self._masks:
            length_N1, own_N1 = self._length_N[:, None], self.position_N[:, None]
            prompt_P = torch.arange(self._cache.longest, device=self._device)
            own_T = torch.arange(self._cache.width, device=self._device)
            unseen_P, unseen_T = prompt_P >= length_N1, own_T > own_N1
            if window is not None:
                unseen_P |= length_N1 + own_N1 - prompt_P >= window
                unseen_T |= own_N1 - own_T >= window
            unseen_NS = torch.cat([unseen_P, unseen_T], 1)
            mask_NS = torch.zeros(unseen_NS.shape, dtype=dtype, device=self._device)
            self._masks[window] = mask_NS.masked_fill_(unseen_NS, -torch.inf)[:, None]
        return self._masks[window]
