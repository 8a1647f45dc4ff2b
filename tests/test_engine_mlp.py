"""The swapped gated MLP: by hand, against transformers' own, by finite differences, and left alone elsewhere."""

import copy
import math

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from assent.engine import mlp
from assent.engine.mlp import swap_mlps


def made(dtype=torch.float64, hidden: int = 4, inner: int = 6, **changes) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=hidden, intermediate_size=inner, num_attention_heads=1, **changes)
    return LlamaMLP(config).to(dtype)


def swapped(module: nn.Module) -> nn.Module:
    holder = nn.ModuleList([copy.deepcopy(module)])
    swap_mlps(holder)
    return holder[0]


def test_by_hand() -> None:
    """One input 2, weights 1: silu(2) * 2."""
    module = swapped(made(hidden=1, inner=1))
    assert type(module) is not LlamaMLP
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    assert module(torch.full((1, 1, 1), 2.0, dtype=torch.float64)).item() == pytest.approx(2 / (1 + math.exp(-2)) * 2)


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_values_and_gradients_are_those_of_the_modules(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "CHUNK", chunk)
    monkeypatch.setattr(mlp, "FEWEST", 3)
    slow = made()
    fast = swapped(slow)
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, wanted = [], []
    for module, into in ((fast, found), (slow, wanted)):
        given = x.clone().requires_grad_()
        out = module(given)
        (out * out.cos()).sum().backward()
        into += [out.detach(), given.grad, *(p.grad for p in module.parameters())]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "CHUNK", 1)
    monkeypatch.setattr(mlp, "FEWEST", 2)
    weights = [p.detach().requires_grad_() for p in made(hidden=3, inner=2).parameters()]
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(mlp._GatedMlp.apply, (x, *weights))


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"mlp_bias": True}])
def test_another_activation_or_a_bias_is_left_alone(changes: dict) -> None:
    assert type(swapped(made(**changes))) is LlamaMLP


def test_an_adapter_put_in_later_is_in_force() -> None:
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    module = swapped(made())
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before = module(x)
    other = Doubled(6, 4, bias=False).double()
    other.weight = module.down_proj.weight
    module.down_proj = other
    torch.testing.assert_close(module(x), 2 * before)


def test_frozen_weights_get_no_gradient_and_pass_it_on() -> None:
    slow = made()
    fast = swapped(slow)
    for module in (fast, slow):
        module.up_proj.weight.requires_grad_(False)
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4), requires_grad=True)
    (found,) = torch.autograd.grad(fast(x).sum(), [x], retain_graph=True)
    (wanted,) = torch.autograd.grad(slow(x).sum(), [x])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    fast(x).sum().backward()
    assert fast.up_proj.weight.grad is None and fast.gate_proj.weight.grad is not None
