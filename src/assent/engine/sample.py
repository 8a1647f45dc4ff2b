"""Draw answers: prompts once a group, then one token of every unfinished answer a step, finished ones leave.

Prompts wait in a queue, enter as soon as the cache has room for them and their answers (continuous batching:
Yu et al., "Orca", OSDI 2022), and are computed in packed rows. How tokens are drawn: `engine/draw.py`.
N rows (answers that are being written), Q tokens of a packed row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from assent.core.hashing import hash_int
from assent.engine import stepwise
from assent.engine.attention import forward
from assent.engine.decode import Cache, Decode, Prefill
from assent.engine.draw import Draws, Ended, Rollout
from assent.engine.precision import autocast
from assent.engine.row import packs
from assent.engine.score import lm_head

CACHED = 8
"""Tokens in the cache for each token of the budget. Training keeps some 20 vectors of a token a layer for the
backward pass, besides its logits; the cache keeps two."""
LEAVE = 8
"""Rows are closed up once an eighth of them have ended: to move the others costs about as much as to go on
with a few that nobody reads."""


class _Waiting(NamedTuple):
    """A prompt and the numbers of its answers."""

    prompt: Sequence[int]
    answers: Sequence[int]


class _Row(NamedTuple):
    """An answer that is being written: its number, the slot of its group, the step at which it entered."""

    answer: int
    slot: int
    entered: int


@torch.inference_mode()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answer_ids: Sequence[Sequence[str]],
    *,
    seed: int,
    temperature: float,
    max_tokens: int,
    stop: Sequence[int],
    token_budget: int,
    ended: Ended | None = None,
) -> list[list[Rollout]]:
    """Sample `len(answer_ids[i])` answers to each prompt of token ids.

    `answer_ids` name the answers: an answer's randomness is f(seed, its id, position).
    Temperature 0 takes the likeliest token. An answer ends with a stop id, after `max_tokens`, or where
    `ended(its number, counted through all prompts, its ids so far)` says so. Results are in the order of `prompts`.
    """
    device = next(iter(model.parameters())).device
    draws = Draws(
        lm_head(model, temperature or 1.0),
        [hash_int(seed, name) for names in answer_ids for name in names],
        greedy=temperature == 0,
        max_tokens=max_tokens,
        stop=stop,
        ended=ended,
        device=device,
    )
    numbers = iter(range(draws.nobody))
    waiting = [_Waiting(p, [next(numbers) for _ in names]) for p, names in zip(prompts, answer_ids, strict=True)]
    packed = packs(model)
    # Held over all steps, so that weights are cast to half precision once and not once a step.
    with autocast(device):
        if packed:
            _Batch(model, draws, token_budget).run(waiting)
        else:
            stepwise.run(model, draws, waiting, token_budget)
    rollouts = iter(draws.rollouts())
    return [[next(rollouts) for _ in names] for names in answer_ids]


class _Batch:
    """The rows that are being written, and their groups' prompts."""

    def __init__(self, model: Any, draws: Draws, token_budget: int) -> None:
        self._model, self._draws, self._budget = model, draws, token_budget
        self._device = next(iter(model.parameters())).device
        self._cache = Cache()
        self._decode = Decode(self._cache, draws.max_tokens, self._device)
        self._prompts: list[int] = []  # the length of each slot's
        self._rows: list[_Row] = []
        self._steps = 0
        self._answer_N = self._token_N = torch.zeros(0, dtype=torch.long, device=self._device)

    def run(self, waiting: Sequence[_Waiting]) -> None:
        """Write all answers; shortest prompts first, so that those which stand together are of similar length."""
        queue = deque(sorted(self._split(waiting), key=lambda w: len(w.prompt)))
        ended = 0
        while True:
            while ended * LEAVE >= len(self._rows):
                self._leave()
                if not queue and not self._rows:
                    return
                self._enter(queue)
                ended = self._ended()
            hidden_NH = self._decode.forward(self._model, self._token_N)
            self._steps += 1
            self._token_N, ended_N = self._draws.step(hidden_NH, self._answer_N, self._decode.position_N)
            self._answer_N = self._answer_N.masked_fill(ended_N, self._draws.nobody)
            ended = self._ended()

    def _ended(self) -> int:
        """How many rows have ended and not yet left: the one number a step waits for."""
        return int((self._answer_N == self._draws.nobody).sum())

    def _split(self, waiting: Sequence[_Waiting]) -> Iterator[_Waiting]:
        """Cut groups that not even an empty cache could hold."""
        for prompt, answers in waiting:
            size = max(1, (CACHED * self._budget - len(prompt)) // self._draws.max_tokens)
            for start in range(0, len(answers), size):
                yield _Waiting(prompt, answers[start : start + size])

    def _leave(self) -> None:
        """Close up rows that have ended and groups that have no row left."""
        order = _close_up([number != self._draws.nobody for number in self._answer_N.tolist()])
        rows = [self._rows[i] for i in order]
        used = {row.slot for row in rows}
        slots = _close_up([slot in used for slot in range(len(self._prompts))])
        self._cache.move(slots, order)
        new = {slot: i for i, slot in enumerate(slots)}
        self._rows = [row._replace(slot=new[row.slot]) for row in rows]
        self._prompts = [self._prompts[slot] for slot in slots]
        kept_N = torch.tensor(order, dtype=torch.long, device=self._device)
        self._answer_N, self._token_N = self._answer_N[kept_N], self._token_N[kept_N]

    def _enter(self, queue: deque[_Waiting]) -> None:
        """Let in whoever the cache has room for, and seat all rows."""
        while entering := self._next(queue):
            self._prefill(entering)
        positions = [self._position(row) for row in self._rows]
        self._decode.seat([row.slot for row in self._rows], self._prompts, positions)

    def _next(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """The next prompts, within the room of the cache and the budget of a pass; one if there is nothing else."""
        entering: list[_Waiting] = []
        rows, tokens = len(self._rows), 0
        while queue:
            prompt, answers = queue[0]
            rows, tokens = rows + len(answers), tokens + len(prompt)
            groups = len(self._prompts) + len(entering) + 1
            cached = groups * max([len(prompt), *self._prompts]) + rows * self._draws.max_tokens
            if groups > 1 and (cached > CACHED * self._budget or (entering and tokens > self._budget)):
                break
            entering.append(queue.popleft())
        return entering

    def _prefill(self, entering: Sequence[_Waiting]) -> None:
        """Compute prompts in one packed row, and draw the first token of each of their answers."""
        entering = sorted(entering, key=lambda w: -len(w.prompt))
        lengths = [len(w.prompt) for w in entering]
        slots = range(len(self._prompts), len(self._prompts) + len(entering))
        numbers = [number for w in entering for number in w.answers]
        self._prompts += lengths
        self._cache.reserve(len(self._prompts), max(self._prompts), len(self._rows) + len(numbers))
        layout = Prefill(self._cache, lengths, slots, self._device)
        ids_Q = torch.tensor([token for w in entering for token in w.prompt], device=self._device)
        hidden_QH = forward(self._model, ids_Q, layout.positions_Q, layout)
        last = [end - 1 for w, end in zip(entering, accumulate(lengths), strict=True) for _ in w.answers]
        answer_N = torch.tensor(numbers, device=self._device)
        hidden_NH = hidden_QH[torch.tensor(last, device=self._device)]
        token_N, ended_N = self._draws.step(hidden_NH, answer_N, torch.zeros_like(answer_N))
        self._rows += [
            _Row(number, slot, self._steps) for w, slot in zip(entering, slots, strict=True) for number in w.answers
        ]
        self._answer_N = torch.cat([self._answer_N, answer_N.masked_fill(ended_N, self._draws.nobody)])
        self._token_N = torch.cat([self._token_N, token_N])

    def _position(self, row: _Row) -> int:
        """Where the row's last token stands, which no step has taken yet."""
        return self._steps - row.entered


def _close_up(stays: Sequence[bool]) -> list[int]:
    """Who stands in each place once the last have moved into the places that are free."""
    order = list(range(sum(stays)))
    movers = (i for i in range(len(order), len(stays)) if stays[i])
    return [i if stays[i] else next(movers) for i in order]
