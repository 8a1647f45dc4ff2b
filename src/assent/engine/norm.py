"""RMS norm in the precision of its input, in a third of the passes over memory.

Transformers' norms compute in fp32 whatever the weights, which in float64 throws half the digits away, and
leave autograd a dozen tensors each. A module is swapped only where it computes what ours does, which is
tried; half precision and GPUs keep transformers' own.
Source: "Root Mean Square Layer Normalization" (Zhang & Sennrich 2019, arXiv 1910.07467), equation 4.
Q tokens, H hidden.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from assent.engine.precision import WIDE


@torch.no_grad()
def swap_norms(model: nn.Module) -> None:
    """Let every RMS norm of `model` that is one compute by `rms_norm`; names, weights and saving stay."""
    for module in model.modules():
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        weight = getattr(module, "weight", None)
        if not type(module).__name__.endswith("RMSNorm") or eps is None or not isinstance(weight, nn.Parameter):
            continue
        x_QH = torch.linspace(-2, 3, 4 * len(weight), device=weight.device, dtype=weight.dtype).view(4, -1)
        for plus in (0.0, 1.0):  # Gemma's weights are stored less one
            wanted, found = module(x_QH), _RmsNorm.apply(x_QH, weight, float(eps), plus)
            if torch.allclose(found, wanted, rtol=1e-4, atol=1e-4):
                module.__class__ = _fast(type(module), float(eps), plus)
                break


@cache
def _fast(kind: type[nn.Module], eps: float, plus: float) -> type[nn.Module]:
    """A subclass, and not another module: copies, state dicts and name patterns of transformers still fit."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if x.is_cuda or x.dtype not in WIDE or x.dtype != self.weight.dtype or torch.is_autocast_enabled(x.device.type):
            out: Tensor = kind.forward(self, x)  # type: ignore[attr-defined]
            return out
        fast: Tensor = _RmsNorm.apply(x, self.weight, eps, plus)
        return fast

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_QH: Tensor, weight_H: Tensor, eps: float, plus: float) -> Tensor:
        mean_Q = torch.linalg.vector_norm(x_QH, dim=-1, keepdim=True).square_().div_(x_QH.shape[-1])
        scale_Q = mean_Q.add_(eps).rsqrt_()
        ctx.save_for_backward(x_QH, scale_Q, weight_H)
        ctx.plus = plus
        return (x_QH * scale_Q).mul_(weight_H + plus if plus else weight_H)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_QH, scale_Q, weight_H = ctx.saved_tensors
        (grad_QH,) = grads
        unit_QH = x_QH * scale_Q
        product_QH = grad_QH * unit_QH
        grad_weight = product_QH.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        weight = weight_H + ctx.plus if ctx.plus else weight_H
        along_Q = (product_QH @ weight).unsqueeze(-1).div_(x_QH.shape[-1])
        grad_x = torch.mul(grad_QH, weight).sub_(unit_QH.mul_(along_Q)).mul_(scale_Q)
        return grad_x, grad_weight, None, None
