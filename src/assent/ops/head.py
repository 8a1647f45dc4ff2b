"""Log-probability and entropy from hidden states, without ever holding logits of all positions.

The head runs in chunks of positions; backward computes a chunk's logits again (or keeps them, where one
chunk holds all), so that memory is bounded by one chunk. Softmax gradient as in "Cut Your Losses in
Large-Vocabulary Language Models" (Wijmans et al., arXiv 2411.09009), here with entropy beside it.
M positions, C positions of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**24
"""Logits held at once (64 MB in fp32), from forward to backward where they are all there are ..."""
FEWEST = 128
"""... but never fewer positions than this: the head's weights are read once a chunk."""

_in_place = False


@contextmanager
def gradients_in_place() -> Iterator[None]:
    """Within it, backward adds to the head's `.grad` where there is one, instead of making another [V, H] first.

    For a loop that calls `backward()` piece after piece; `torch.autograd.grad` would miss the head's part.
    """
    global _in_place
    before, _in_place = _in_place, True
    try:
        yield
    finally:
        _in_place = before


class Head(NamedTuple):
    """A linear head and what its family does to the logits: scale, soft cap, and division by temperature."""

    weight_VH: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0

    def logits(self, hidden_CH: Tensor) -> Tensor:
        """Logits [C, V] of the distribution that is sampled from, at least in fp32."""
        bias = None if self.bias_V is None else self.bias_V.to(hidden_CH.dtype)
        logits_CV = torch.nn.functional.linear(hidden_CH, self.weight_VH.to(hidden_CH.dtype), bias)
        logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
        if self.cap is not None:
            logits_CV = torch.tanh(logits_CV.mul_(self.scale / self.cap)).mul_(self.cap)
            return logits_CV.div_(self.temperature)
        factor = self.scale / self.temperature
        return logits_CV.mul_(factor) if factor != 1.0 else logits_CV


def head_logp(head: Head, hidden_MH: Tensor, ids_M: Tensor, entropy: bool = False) -> tuple[Tensor, Tensor | None]:
    """logp_M of the ids, in nats, and entropy_M where asked; differentiable in hidden states, weight and bias.

    Equals `ops.logprobs.token_logp` and `entropy` of the whole logits. Raises ValueError unless temperature > 0.
    """
    if not head.temperature > 0:
        raise ValueError(f"temperature must be above 0, got {head.temperature}")
    logp_M, entropy_M = _HeadLogp.apply(hidden_MH, head.weight_VH, head.bias_V, ids_M, head, entropy)  # type: ignore[no-untyped-call]
    return logp_M, entropy_M if entropy else None


class _HeadLogp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, ids_M: Tensor, head: Head, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        parts = []
        chunks = list(_chunks(len(hidden_MH), len(weight_VH)))
        kept = None
        for chunk in chunks:
            logits_CV = head.logits(hidden_MH[chunk])
            total_C = torch.logsumexp(logits_CV, 1)
            logp_C = logits_CV.gather(1, ids_M[chunk, None]).squeeze(1) - total_C
            entropy_C = _entropy(logits_CV, total_C) if entropy else torch.zeros_like(total_C)
            parts.append((logp_C, entropy_C, total_C))
            kept = logits_CV if len(chunks) == 1 and any(ctx.needs_input_grad) else None
        logp_M, entropy_M, total_M = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(hidden_MH, weight_VH, bias_V, ids_M, entropy_M, total_M, kept)
        ctx.head, ctx.entropy = head, entropy
        return logp_M, entropy_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_MH, weight_VH, bias_V, ids_M, entropy_M, total_M, kept = ctx.saved_tensors
        grad_M, grad_entropy_M = grads
        head: Head = ctx.head._replace(weight_VH=weight_VH.detach(), bias_V=bias_V)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden_MH) if wants_hidden else None
        in_place = _in_place and weight_VH.is_leaf and weight_VH.grad is not None
        grad_weight = (weight_VH.grad if in_place else torch.zeros_like(weight_VH)) if wants_weight else None
        grad_bias = torch.zeros_like(bias_V) if wants_bias and bias_V is not None else None
        for chunk in _chunks(len(hidden_MH), len(weight_VH)):
            logits_CV = head.logits(hidden_MH[chunk]) if kept is None else kept
            slope = None if head.cap is None else 1 - (logits_CV * (head.temperature / head.cap)).square()
            grad_CV = _softmax_grad(
                logits_CV,
                total_M[chunk],
                grad_M[chunk],
                entropy_M[chunk],
                grad_entropy_M[chunk] if ctx.entropy else None,
            )
            grad_CV.scatter_add_(1, ids_M[chunk, None], grad_M[chunk, None])
            if slope is not None:
                grad_CV.mul_(slope)
            factor = head.scale / head.temperature
            grad_CV = (grad_CV.mul_(factor) if factor != 1.0 else grad_CV).to(hidden_MH.dtype)
            if grad_hidden is not None:
                torch.mm(grad_CV, head.weight_VH.to(grad_CV.dtype), out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight.addmm_(grad_CV.T.to(grad_weight.dtype), hidden_MH[chunk].to(grad_weight.dtype))
            if grad_bias is not None:
                grad_bias += grad_CV.sum(0)
        return grad_hidden, None if in_place else grad_weight, grad_bias, None, None, None


def _softmax_grad(
    logits_CV: Tensor, total_C: Tensor, grad_C: Tensor, entropy_C: Tensor, grad_entropy_C: Tensor | None
) -> Tensor:
    """Gradient of grad * logp + grad_entropy * entropy in the logits, less the one-hot part.

    d logp / dz = onehot - p;  d entropy / dz = -p (log p + entropy).
    """
    logp_CV = logits_CV - total_C[:, None]
    if grad_entropy_C is None:
        return logp_CV.exp_().mul_(-grad_C[:, None])
    finite_CV = logp_CV.clamp_min(torch.finfo(logp_CV.dtype).min / 2)
    slope_CV = (finite_CV + entropy_C[:, None]).mul_(grad_entropy_C[:, None]).add_(grad_C[:, None])
    return slope_CV.mul_(logp_CV.exp_()).neg_()


def _entropy(logits_CV: Tensor, total_C: Tensor) -> Tensor:
    """sum of -p log p; a logit of -inf (an id that cannot be sampled) contributes 0."""
    logp_CV = (logits_CV - total_C[:, None]).clamp_min_(torch.finfo(logits_CV.dtype).min)
    return -(logp_CV.exp() * logp_CV).sum(1)


def _chunks(positions: int, vocabulary: int) -> Iterator[slice]:
    size = max(FEWEST, CHUNK // vocabulary)
    for start in range(0, max(positions, 1), size):
        yield slice(start, min(start + size, positions))
