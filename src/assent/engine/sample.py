"""Draw answers: pure temperature sampling with counter-based randomness.

The uniform number behind a token is f(seed, answer id, position): an answer depends neither on its
neighbours in the batch nor on how often the run was stopped (exact in float64; in fp32 a neighbour can
change a logit's last bits, and so, rarely, a token).
N answers, V vocabulary, S prompt positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from assent.core.hashing import hash_int
from assent.engine.score import lm_logits
from assent.ops.logprobs import tempered_log_softmax


class Rollout(NamedTuple):
    """One sampled answer: its ids exactly as sampled (a stop id included), their log-probs, how it ended."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish: str


@torch.no_grad()
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
) -> list[list[Rollout]]:
    """Sample `len(answer_ids[i])` answers to each prompt of token ids.

    `answer_ids` name the answers: an answer's randomness is f(seed, its id, position).
    Temperature 0 takes the likeliest token. Results are in the order of `prompts`.
    """
    results: list[list[Rollout]] = [[] for _ in prompts]
    for piece in _pieces(prompts, answer_ids, max_tokens, token_budget):
        rollouts = iter(
            _batch(
                model, [prompts[i] for i in piece], [answer_ids[i] for i in piece], seed, temperature, max_tokens, stop
            )
        )
        for i in piece:
            results[i] = [next(rollouts) for _ in answer_ids[i]]
    return results


def _pieces(
    prompts: Sequence[Sequence[int]], answer_ids: Sequence[Sequence[str]], max_tokens: int, budget: int
) -> list[list[int]]:
    pieces: list[list[int]] = []
    rows = 0
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        width = len(prompts[i]) + max_tokens
        if not pieces or (rows + len(answer_ids[i])) * width > budget:
            pieces.append([])
            rows = 0
        pieces[-1].append(i)
        rows += len(answer_ids[i])
    return pieces


def _batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    names: Sequence[Sequence[str]],
    seed: int,
    temperature: float,
    max_tokens: int,
    stop: Sequence[int],
) -> list[Rollout]:
    """Prefill each prompt once, fan out to its answers, then one token at a time; finished rows leave."""
    device = next(iter(model.parameters())).device
    fan_N = torch.tensor([i for i, group in enumerate(names) for _ in group], device=device)
    keys_N = torch.tensor([hash_int(seed, name) for group in names for name in group], device=device)
    cache = DynamicCache(config=model.config)
    hidden, attention_NS = _prefill(model, prompts, cache, device)
    cache.batch_select_indices(fan_N)
    attention_NS, hidden = attention_NS[fan_N], hidden[fan_N]
    stops = torch.tensor(list(stop), device=device)
    n = len(fan_N)
    ids: list[list[int]] = [[] for _ in range(n)]
    logps: list[list[float]] = [[] for _ in range(n)]
    finish = ["length"] * n
    alive_N = torch.arange(n, device=device)
    for position in range(max_tokens):
        token_N, logp_N = draw(lm_logits(model, hidden), keys_N[alive_N], position, temperature)
        ended_N = torch.isin(token_N, stops)
        for row, token, logp, ended in zip(
            alive_N.tolist(), token_N.tolist(), logp_N.tolist(), ended_N.tolist(), strict=True
        ):
            ids[row].append(token)
            logps[row].append(logp)
            if ended:
                finish[row] = "stop"
        if position == max_tokens - 1 or bool(ended_N.all()):
            break
        if bool(ended_N.any()):
            keep = (~ended_N).nonzero().squeeze(1)
            alive_N, token_N, attention_NS = alive_N[keep], token_N[keep], attention_NS[keep]
            cache.batch_select_indices(keep)
        attention_NS = torch.cat([attention_NS, attention_NS.new_ones(len(alive_N), 1)], dim=1)
        hidden = model.base_model(
            input_ids=token_N[:, None],
            attention_mask=attention_NS,
            past_key_values=cache,
            position_ids=attention_NS.sum(1, keepdim=True) - 1,
            use_cache=True,
        ).last_hidden_state[:, -1]
    return [Rollout(tuple(i), tuple(p), f) for i, p, f in zip(ids, logps, finish, strict=True)]


def _prefill(
    model: Any, prompts: Sequence[Sequence[int]], cache: DynamicCache, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Fill the cache with the left-padded prompts; the last hidden state and the attention mask."""
    width = max(len(p) for p in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    attention = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        attention[row, width - len(prompt) :] = 1
    ids, attention = ids.to(device), attention.to(device)
    positions = (attention.cumsum(1) - 1).clamp_min(0)
    out = model.base_model(
        input_ids=ids, attention_mask=attention, position_ids=positions, past_key_values=cache, use_cache=True
    )
    return out.last_hidden_state[:, -1], attention


def draw(logits_NV: Tensor, keys_N: Tensor, position: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Token and log-probability per row: the first token whose cumulated probability passes the uniform."""
    if temperature == 0:
        logp_NV = tempered_log_softmax(logits_NV)
        token_N = logp_NV.argmax(-1)
        return token_N, logp_NV.gather(1, token_N[:, None]).squeeze(1)
    logp_NV = tempered_log_softmax(logits_NV, temperature)
    cumulated_NV = logp_NV.double().exp().cumsum(-1)
    threshold_N1 = (uniform(keys_N, position) * cumulated_NV[:, -1])[:, None]
    token_N = torch.searchsorted(cumulated_NV, threshold_N1, right=True).squeeze(1).clamp_max(logits_NV.shape[-1] - 1)
    return token_N, logp_NV.gather(1, token_N[:, None]).squeeze(1)


def uniform(keys_N: Tensor, position: int) -> Tensor:
    """Uniform numbers in [0, 1), float64: the splitmix64 mix of key and position (Steele et al. 2014)."""
    x = keys_N + _signed((position + 1) * 0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return _shift(x ^ _shift(x, 31), 11).double() * 2.0**-53


def _signed(x: int) -> int:
    """The int64 with the low 64 bits of `x`; int64 arithmetic then wraps as splitmix64's does."""
    return (x + 2**63) % 2**64 - 2**63


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (zero-filling) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
