"""The swapped RMS norm: by hand, against transformers' own, by finite differences, and left alone elsewhere."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from assent.engine.norm import swap_norms


def swapped(kind, size: int = 6, dtype=torch.float64) -> nn.Module:
    module = kind(size, eps=1e-6).to(dtype)
    torch.manual_seed(0)
    nn.init.normal_(module.weight)
    holder = nn.ModuleList([module])
    swap_norms(holder)
    assert type(holder[0]) is not kind and isinstance(holder[0], kind)
    return holder[0]


def test_by_hand() -> None:
    """[3, 4]: mean square 12.5, so [3, 4] / sqrt(12.5), times the weight; Gemma's weight is stored less one."""
    llama, gemma = swapped(LlamaRMSNorm, 2), swapped(Gemma2RMSNorm, 2)
    for module, plus in ((llama, 0), (gemma, 1)):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([1.0, 2.0]))
        out = module(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        assert out[0].tolist() == pytest.approx([3 * (1 + plus) / 12.5**0.5, 4 * (2 + plus) / 12.5**0.5], abs=1e-6)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Gemma2RMSNorm])
def test_as_transformers_in_fp32(kind) -> None:
    fast = swapped(kind, 16, torch.float32)
    slow = copy.deepcopy(fast)
    slow.__class__ = kind
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))
    inputs = [(x.clone().requires_grad_(), m) for m in (fast, slow)]
    outs = [m(given) for given, m in inputs]
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)
    for out in outs:
        (out * x.cos()).sum().backward()
    torch.testing.assert_close(inputs[0][0].grad, inputs[1][0].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast.weight.grad, slow.weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Gemma2RMSNorm])
def test_gradcheck_in_float64(kind) -> None:
    module = swapped(kind)
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(module, {"weight": w}, (x,)), (x, module.weight)
    )


def test_a_norm_of_another_formula_is_left_alone() -> None:
    class OddRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states):
            return super().forward(hidden_states) * 1.1

    holder = nn.ModuleList([OddRMSNorm(4)])
    swap_norms(holder)
    assert type(holder[0]) is OddRMSNorm


def test_half_precision_keeps_transformers_own() -> None:
    fast = swapped(LlamaRMSNorm, 8, torch.float32).bfloat16()
    slow = copy.deepcopy(fast)
    slow.__class__ = LlamaRMSNorm
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(3)).bfloat16()
    assert fast(x).equal(slow(x))


def test_copies_and_state_dicts_stay() -> None:
    module = swapped(LlamaRMSNorm)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.weight.mul_(2)
    x = torch.ones(1, 6, dtype=torch.float64)
    torch.testing.assert_close(other(x), 2 * module(x))
    assert list(module.state_dict()) == ["weight"]
