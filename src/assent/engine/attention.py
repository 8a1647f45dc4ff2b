"""How a Hugging Face model attends when the engine runs it: by a layout that travels as a keyword argument.

Tokens of many groups stand in ONE row without padding, so that every linear layer computes real tokens
only; a `Layout` says which of them see which. The layout, not a cache, holds prompts' keys and values:
activation checkpointing replays a layer with the same keyword arguments, so nothing is dropped.
Q query tokens of the row, A heads, B key-value heads, D head size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from assent.engine.precision import autocast

NAME = "assent"
UNKNOWN = ("s_aux", "position_bias", "alibi")
"""Options of a few families that no layout knows; a model that uses one is run row by row instead."""


class Layout(Protocol):
    """Which tokens of a row see which."""

    def attend(self, layer: int, q_QAD: Tensor, k_QBD: Tensor, v_QBD: Tensor, how: How) -> Tensor:
        """Attention output [Q, A, D]."""
        ...


class How:
    """What a layer wants of its attention: scale of the scores, sliding window, soft cap."""

    __slots__ = ("scale", "softcap", "window")

    def __init__(self, scale: float, window: int | None, softcap: float | None) -> None:
        self.scale, self.window, self.softcap = scale, window, softcap


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Called by the model's layers; tensors come as [batch, heads, tokens, D] and go as [batch, tokens, heads, D]."""
    how = How(scaling or query.shape[-1] ** -0.5, options.get("sliding_window"), options.get("softcap"))
    if layout is None:
        causal = attention_mask is None and query.shape[2] > 1
        return dense(query, key, value, how, attention_mask, causal).transpose(1, 2).contiguous(), None
    if dropout or any(options.get(name) is not None for name in UNKNOWN):
        raise NotImplementedError("attention that no layout knows")
    out_QAD = layout.attend(
        module.layer_idx, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), how
    )
    return out_QAD[None], None


def dense(
    q_NATD: Tensor, k_NBSD: Tensor, v_NBSD: Tensor, how: How, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Padded attention [N, A, T, D]; `mask` is True where a key is seen."""
    grouped = q_NATD.shape[1] != k_NBSD.shape[1]
    if how.softcap is None:
        return F.scaled_dot_product_attention(
            q_NATD, k_NBSD, v_NBSD, attn_mask=mask, is_causal=causal, scale=how.scale, enable_gqa=grouped
        )
    repeats = q_NATD.shape[1] // k_NBSD.shape[1]
    k, v = k_NBSD.repeat_interleave(repeats, 1), v_NBSD.repeat_interleave(repeats, 1)
    scores = how.softcap * torch.tanh(q_NATD @ k.transpose(-1, -2) * how.scale / how.softcap)
    if causal:
        mask = torch.ones(q_NATD.shape[2], k.shape[2], dtype=torch.bool, device=k.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, -1) @ v


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def adopt(model: Any) -> None:
    """Let the model's layers attend by layouts; without one they attend as before."""
    model.set_attn_implementation(NAME)


def trunk(model: Any) -> Any:
    """The layers below the head; adapters live inside them, so they stay in force."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def forward(model: Any, ids_Q: Tensor, positions_Q: Tensor, layout: Layout) -> Tensor:
    """Hidden states [Q, H] of a row of tokens under a layout, with gradients. The model must have adopted layouts."""
    # A mask of four dimensions is passed through by transformers as it is; of size 0 it can be used by no one.
    unused = ids_Q.new_zeros((1, 1, len(ids_Q), 0), dtype=torch.bool)
    with autocast(ids_Q.device):
        out = trunk(model)(
            input_ids=ids_Q[None], position_ids=positions_Q[None], attention_mask=unused, use_cache=False, layout=layout
        )
    hidden_QH: Tensor = out.last_hidden_state[0]
    return hidden_QH
