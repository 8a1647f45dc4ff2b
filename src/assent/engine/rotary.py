"""Attention modules with rotary positions in fewer passes over memory.

Transformers rotates queries and keys by ten operations on transposed tensors; here it is three, where the
projections left them. A module is swapped only where it computes what ours does, which is tried with a layout
that records what the module wants of it; adapters, half precision and GPUs keep transformers' own.
Source: "RoFormer" (Su et al. 2021, arXiv 2104.09864), equation 34, halves as Hugging Face orders them.
Q tokens, H hidden, A heads, B key-value heads, D head size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from assent.engine.attention import How
from assent.engine.norm import WIDE

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


class _Spy:
    """A layout that notes what it is asked and mixes queries, keys and values in a way that shows each."""

    how: How

    def attend(self, layer: int, q_QAD: Tensor, k_QBD: Tensor, v_QBD: Tensor, how: How) -> Tensor:
        self.how = how
        return q_QAD * k_QBD.mean(1, keepdim=True) + v_QBD.sum(1, keepdim=True)


@torch.no_grad()
def swap_attention(model: nn.Module) -> None:
    """Let every attention module of `model` that fits rotate by `_Rotate`; the model must have adopted layouts."""
    for module in model.modules():
        if not _plain(module):
            continue
        like, spy = module.q_proj.weight, _Spy()
        x_QH = torch.linspace(-2, 3, 4 * like.shape[1], device=like.device, dtype=like.dtype).view(1, 4, -1)
        angles = torch.linspace(0, 2, 4 * int(module.head_dim), device=like.device, dtype=like.dtype).view(1, 4, -1)
        given = {"position_embeddings": (angles.cos(), angles.sin()), "attention_mask": None, "layout": spy}
        try:
            wanted = module(x_QH, **given)[0]
        except Exception:  # not called like Llama's: whatever it raises, it keeps its own
            continue
        module.assent_how = spy.how
        found = _forward(module, x_QH, *given["position_embeddings"], spy)
        if found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-4, atol=1e-4):
            module.__class__ = _fast(type(module))


def _plain(module: Any) -> bool:
    """Four linear layers, and no adapter in place of one."""
    return hasattr(module, "head_dim") and all(type(getattr(module, name, None)) is nn.Linear for name in PROJECTIONS)


@cache
def _fast(kind: type[nn.Module]) -> type[nn.Module]:
    def forward(self: Any, hidden_states: Tensor, *args: Any, layout: Any = None, **options: Any) -> Any:
        x, angles = hidden_states, options.get("position_embeddings")
        wide = x.dtype in WIDE and not torch.is_autocast_enabled(x.device.type)
        if layout is None or args or angles is None or x.is_cuda or not wide or not _plain(self):
            return kind.forward(self, x, *args, layout=layout, **options)  # type: ignore[attr-defined]
        return _forward(self, x, *angles, layout), None

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _forward(module: Any, x_1QH: Tensor, cos_1QD: Tensor, sin_1QD: Tensor, layout: Any) -> Tensor:
    x_QH = x_1QH[0]
    q, k, v = (getattr(module, name)(x_QH).view(len(x_QH), -1, module.head_dim) for name in PROJECTIONS[:3])
    cos, sin = cos_1QD[0][:, None], sin_1QD[0][:, None]
    q, k = _Rotate.apply(q, cos, sin), _Rotate.apply(k, cos, sin)
    out_QAD = layout.attend(module.layer_idx, q, k, v, module.assent_how)
    out: Tensor = module.o_proj(out_QAD.reshape(1, len(x_QH), -1))
    return out


class _Rotate(torch.autograd.Function):
    """x cos + rotate_half(x) sin, with rotate_half([a, b]) = [-b, a]."""

    @staticmethod
    def forward(ctx: Any, x_QAD: Tensor, cos_Q1D: Tensor, sin_Q1D: Tensor) -> Tensor:
        ctx.save_for_backward(cos_Q1D, sin_Q1D)
        half = x_QAD.shape[-1] // 2
        out = x_QAD * cos_Q1D
        out[..., :half].addcmul_(x_QAD[..., half:], sin_Q1D[..., :half], value=-1)
        out[..., half:].addcmul_(x_QAD[..., :half], sin_Q1D[..., half:])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos_Q1D, sin_Q1D = ctx.saved_tensors
        (grad,) = grads
        half = grad.shape[-1] // 2
        out = grad * cos_Q1D
        out[..., half:].addcmul_(grad[..., :half], sin_Q1D[..., :half], value=-1)
        out[..., :half].addcmul_(grad[..., half:], sin_Q1D[..., half:])
        return out, None, None
