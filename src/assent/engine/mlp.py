"""The gated MLP (SwiGLU) in chunks of tokens that stay in a CPU's cache.

As modules it makes four tensors [Q, I] a layer for autograd and a dozen passes over memory; here two are kept
and what lies between matrix products never leaves the cache. A module is swapped only where it computes what
ours does, which is tried; adapters, half precision and GPUs keep transformers' own.
Source: "GLU Variants Improve Transformer" (Shazeer 2020, arXiv 2002.05202), equation 6.
Q tokens, H hidden, I inner size.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from assent.engine.precision import WIDE

CHUNK = 2**20
"""Elements of a chunk's inner activations: 4 MB in fp32. A quarter of it was 4 % slower with two threads."""
FEWEST = 128
"""Tokens below which a chunk's matrix products would be slower for it."""


@torch.no_grad()
def swap_mlps(model: nn.Module) -> None:
    """Let every gated MLP of `model` compute by `_GatedMlp`; names, weights and saving stay."""
    for module in model.modules():
        if not _plain(module):
            continue
        like = module.gate_proj.weight
        x_QH = torch.linspace(-2, 3, 4 * like.shape[1], device=like.device, dtype=like.dtype).view(4, -1)
        if torch.allclose(_apply(module, x_QH), module(x_QH), rtol=1e-4, atol=1e-4):
            module.__class__ = _fast(type(module))


def _plain(module: Any) -> bool:
    """Three linear layers without bias, and no adapter in place of one."""
    layers = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return all(type(layer) is nn.Linear and layer.bias is None for layer in layers)


@cache
def _fast(kind: type[nn.Module]) -> type[nn.Module]:
    def forward(self: Any, x: Tensor) -> Tensor:
        wide = x.dtype in WIDE and not torch.is_autocast_enabled(x.device.type)
        if x.is_cuda or not wide or not _plain(self):
            out: Tensor = kind.forward(self, x)  # type: ignore[attr-defined]
            return out
        return _apply(self, x)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _apply(module: Any, x: Tensor) -> Tensor:
    weights = (module.gate_proj.weight, module.up_proj.weight, module.down_proj.weight)
    out_QH: Tensor = _GatedMlp.apply(x.reshape(-1, x.shape[-1]), *weights)
    return out_QH.view(x.shape)


class _GatedMlp(torch.autograd.Function):
    """y = (silu(x Wg') * x Wu') Wd'."""

    @staticmethod
    def forward(ctx: Any, x_QH: Tensor, gate_IH: Tensor, up_IH: Tensor, down_HI: Tensor) -> Tensor:
        trained = any(ctx.needs_input_grad)
        out_QH = torch.empty_like(x_QH)
        gates, ups = [], []
        for chunk in _chunks(len(x_QH), len(gate_IH)):
            gate_CI, up_CI = F.linear(x_QH[chunk], gate_IH), F.linear(x_QH[chunk], up_IH)
            torch.mm(F.silu(gate_CI).mul_(up_CI), down_HI.T, out=out_QH[chunk])
            if trained:
                gates.append(gate_CI)
                ups.append(up_CI)
        ctx.save_for_backward(x_QH, gate_IH, up_IH, down_HI, *gates, *ups)
        return out_QH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_QH, gate_IH, up_IH, down_HI, *kept = ctx.saved_tensors
        (grad_QH,) = grads
        wants = ctx.needs_input_grad
        grad_x = torch.empty_like(x_QH) if wants[0] else None
        grad_gate, grad_up, grad_down = (
            torch.zeros_like(w) if wanted else None
            for w, wanted in zip((gate_IH, up_IH, down_HI), wants[1:], strict=True)
        )
        chunks = list(_chunks(len(x_QH), len(gate_IH)))
        for chunk, gate_CI, up_CI in zip(chunks, kept[: len(chunks)], kept[len(chunks) :], strict=True):
            x_CH, grad_CH = x_QH[chunk], grad_QH[chunk]
            silu_CI, inner_CI = F.silu(gate_CI), grad_CH @ down_HI
            if grad_down is not None:
                grad_down.addmm_(grad_CH.T, silu_CI * up_CI)
            d_up_CI = silu_CI.mul_(inner_CI)
            d_gate_CI = torch.ops.aten.silu_backward(inner_CI.mul_(up_CI), gate_CI)
            if grad_x is not None:
                torch.mm(d_gate_CI, gate_IH, out=grad_x[chunk])
                grad_x[chunk].addmm_(d_up_CI, up_IH)
            if grad_gate is not None:
                grad_gate.addmm_(d_gate_CI.T, x_CH)
            if grad_up is not None:
                grad_up.addmm_(d_up_CI.T, x_CH)
        return grad_x, grad_gate, grad_up, grad_down


def _chunks(tokens: int, inner: int) -> Iterator[slice]:
    size = max(FEWEST, CHUNK // inner)
    for start in range(0, tokens, size):
        yield slice(start, min(start + size, tokens))
