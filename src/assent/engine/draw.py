"""One draw: pure temperature sampling with counter-based randomness, and what has been drawn so far.

The uniform number behind a token is f(seed, answer id, position), and the token is the first whose cumulated
probability passes it. So an answer depends neither on its neighbours in the batch nor on how often the run was
stopped (exact in float64; in fp32 a neighbour can change a logit's last bits, and so, rarely, a token).
A answers, T positions, N rows that draw, V vocabulary, C blocks of it, W ids of a block, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from assent.ops.head import CHUNK, FEWEST, Head

BLOCK = 128
"""Ids whose probabilities are summed before any is looked at: cumulating V numbers a row costs more than the rest."""

EMPTY = -1
"""No id: where nothing has been drawn."""

Ended = Callable[[int, Sequence[int]], bool]
"""Whether an answer ends with its last token, given its number and its ids so far."""


class Rollout(NamedTuple):
    """One sampled answer: its ids exactly as sampled (a stop id included), their log-probs, how it ended."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish: str


class Draws:
    """Tokens and log-probs of all answers as they are drawn; answer number A is nobody's: who has ended draws there."""

    def __init__(
        self,
        head: Head,
        keys: Sequence[int],
        *,
        greedy: bool,
        max_tokens: int,
        stop: Sequence[int],
        ended: Ended | None,
        device: torch.device,
    ) -> None:
        self.nobody, self.max_tokens, self._head, self._greedy = len(keys), max_tokens, head, greedy
        self._ended, self._written, self._cut = ended, dict[int, list[int]](), set[int]()
        keys_A1 = torch.tensor([*keys, 0], device=device)[:, None]
        self._uniform_AT = uniform(keys_A1, torch.arange(max_tokens, device=device))
        self._ids_AT = torch.full(self._uniform_AT.shape, EMPTY, device=device)
        self._logp_AT = torch.zeros_like(self._uniform_AT)
        self._stop = torch.tensor(list(stop), dtype=torch.long, device=device)

    def step(self, hidden_NH: Tensor, answer_N: Tensor, position_N: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one token a row: token_N, and ended_N where that was a stop id or the last position."""
        uniform_N = self._uniform_AT[answer_N, position_N]
        hidden_NH = hidden_NH.to(torch.promote_types(hidden_NH.dtype, self._head.weight_VH.dtype))
        size = max(FEWEST, CHUNK // len(self._head.weight_VH))
        with torch.autocast(hidden_NH.device.type, enabled=False):  # as in scoring: the head's precision is its own
            parts = [
                self._draw(self._head.logits(hidden), number)
                for hidden, number in zip(hidden_NH.split(size), uniform_N.split(size), strict=True)
            ]
        token_N, logp_N = parts[0] if len(parts) == 1 else (torch.cat(part) for part in zip(*parts, strict=True))
        self._ids_AT[answer_N, position_N] = token_N
        self._logp_AT[answer_N, position_N] = logp_N.double()
        ended_N = (token_N[:, None] == self._stop).any(1) | (position_N >= self.max_tokens - 1)
        return token_N, ended_N if self._ended is None else ended_N | self._ask(self._ended, token_N, answer_N)

    def rollouts(self) -> list[Rollout]:
        """All answers, in order of their keys."""
        stop, found = set(self._stop.tolist()), []
        columns = (self._ids_AT, self._logp_AT, (self._ids_AT != EMPTY).sum(1))
        rows = zip(*(column[: self.nobody].tolist() for column in columns), strict=True)
        for answer, (ids, logps, length) in enumerate(rows):
            stopped = ids[length - 1] in stop or answer in self._cut
            found.append(Rollout(tuple(ids[:length]), tuple(logps[:length]), "stop" if stopped else "length"))
        return found

    def _ask(self, ended: Ended, token_N: Tensor, answer_N: Tensor) -> Tensor:
        """Which rows `ended` ends."""
        for answer, token in torch.stack([answer_N, token_N], 1).tolist():
            if answer != self.nobody:
                ids = self._written.setdefault(answer, [])
                ids.append(token)
                if ended(answer, ids):
                    self._cut.add(answer)
        return torch.tensor([answer in self._cut for answer in answer_N.tolist()], device=token_N.device)

    def _draw(self, logits_NV: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
        return likeliest(logits_NV) if self._greedy else draw(logits_NV, uniform_N)


def draw(logits_NV: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    """Token and log-probability per row: the first token whose cumulated probability passes the uniform number.

    The block is found first, then the token inside it. An id whose logit is -inf is never drawn.
    """
    p_NV = torch.softmax(logits_NV, -1)
    sums_NC = _block_sums(p_NV).double()
    cumulated_NC = sums_NC.cumsum(-1)
    wanted_N1 = uniform_N[:, None] * cumulated_NC[:, -1:]
    block_N1 = _first_beyond(cumulated_NC, wanted_N1)
    wanted_N1 = wanted_N1 - (cumulated_NC - sums_NC).gather(1, block_N1)
    last = p_NV.shape[1] - 1
    ids_NW = block_N1 * BLOCK + torch.arange(min(BLOCK, last + 1), device=p_NV.device)
    inside_NW = p_NV.gather(1, ids_NW.clamp_max(last)).double().masked_fill_(ids_NW > last, 0.0)
    token_N1 = ids_NW.gather(1, _first_beyond(inside_NW.cumsum(-1), wanted_N1))
    return token_N1.squeeze(1), p_NV.gather(1, token_N1).log().squeeze(1)


def likeliest(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Token and log-probability per row at temperature 0."""
    token_N1 = logits_NV.argmax(-1, keepdim=True)
    return token_N1.squeeze(1), torch.log_softmax(logits_NV, -1).gather(1, token_N1).squeeze(1)


def _block_sums(p_NV: Tensor) -> Tensor:
    """Sum of every BLOCK ids; the last block takes what is left."""
    size = p_NV.shape[1]
    whole = size - size % BLOCK
    sums = [p_NV[:, :whole].unflatten(1, (whole // BLOCK, BLOCK)).sum(-1)] if whole else []
    return torch.cat([*sums, p_NV[:, whole:].sum(-1, keepdim=True)], 1) if whole < size else sums[0]


def _first_beyond(cumulated_NC: Tensor, wanted_N1: Tensor) -> Tensor:
    """Index of the first number above the wanted one; where rounding leaves none, of the last that adds anything."""
    total_N1 = cumulated_NC[:, -1:]
    found_N1 = torch.searchsorted(cumulated_NC, wanted_N1, right=True)
    return torch.minimum(found_N1, torch.searchsorted(cumulated_NC, total_N1.contiguous())).clamp_max_(
        cumulated_NC.shape[1] - 1
    )


def uniform(keys: Tensor, position: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), float64: the splitmix64 mix of key and position (Steele et al. 2014)."""
    x = keys + (position + 1) * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return _shift(x ^ _shift(x, 31), 11).double() * 2.0**-53


def _signed(x: int) -> int:
    """The int64 with the low 64 bits of `x`; int64 arithmetic then wraps as splitmix64's does."""
    return (x + 2**63) % 2**64 - 2**63


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (zero-filling) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
