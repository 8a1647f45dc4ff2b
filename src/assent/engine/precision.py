"""The number format of matrix products: bf16 on GPUs that have it, under fp32 weights; the weights' own elsewhere.

One setting a process, like the number of threads: every pass of a run (sampler, old policy, reference, new
policy) must agree. `auto` leaves CPUs at fp32, where every number can be compared to many digits: some compute
bf16 twice as fast, others many times slower (docs/memory.md).
"""

from __future__ import annotations

from typing import Any, Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]
WIDE = (torch.float32, torch.float64)
_wanted: Precision = "auto"


def use(wanted: Precision) -> None:
    """Set the precision of this process."""
    global _wanted
    _wanted = wanted
    if torch.cuda.is_available():
        # Of what is not computed in bf16, the LM head is large: TF32 multiplies 11 bits and sums in fp32.
        torch.backends.cuda.matmul.allow_tf32 = half(torch.device("cuda"))


def half(device: torch.device) -> bool:
    """Whether products are computed in bf16 there."""
    if _wanted == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return _wanted == "bf16"


def compute_dtype(model: Any) -> torch.dtype:
    """The format in which `model`'s products are computed: rounding is judged by it."""
    weight = next(iter(model.parameters()))
    dtype: torch.dtype = torch.bfloat16 if half(weight.device) else weight.dtype
    return dtype


def autocast(device: torch.device) -> torch.autocast:
    """Context of a forward pass on `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=half(device))
