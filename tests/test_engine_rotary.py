"""The swapped attention module: by hand, by finite differences, and left alone elsewhere."""

import math

import pytest
import torch
from torch import nn

import tiny
from assent.engine import row, score
from assent.engine.rotary import _Rotate

SWAPPED = {"llama": True, "llama-tied-gqa": True, "qwen2": True, "mistral": True, "gpt2": False}


def is_swapped(model) -> bool:
    layers = getattr(model.base_model, "layers", None) or model.base_model.h
    module = layers[0].self_attn if hasattr(layers[0], "self_attn") else layers[0].attn
    return type(module).__mro__[1] is not nn.Module


@pytest.mark.parametrize("family", SWAPPED)
def test_which_families_it_fits(family: str) -> None:
    """That they compute the same is what test_engine_packed.py shows, against plain rows that are not swapped."""
    model = tiny.policy(family)
    assert row.packs(model)
    assert is_swapped(model) == SWAPPED[family]


def test_by_hand() -> None:
    """[1, 0] turned by 90 degrees is [0, 1]; by 60 degrees [1/2, sqrt(3)/2]."""
    x = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64)
    angle = torch.tensor([[[math.pi / 2]], [[math.pi / 3]]], dtype=torch.float64).expand(2, 1, 2)
    out = _Rotate.apply(x, angle.cos(), angle.sin())
    assert out.flatten().tolist() == pytest.approx([0, 1, 0.5, math.sqrt(3) / 2])


def test_gradcheck_where_the_halves_differ() -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(3, 2, 4, dtype=torch.float64, generator=draw, requires_grad=True)
    cos, sin = (torch.randn(3, 1, 4, dtype=torch.float64, generator=draw) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: _Rotate.apply(x, cos, sin), (x,))


def test_a_family_with_norms_on_queries_keeps_its_own() -> None:
    model = tiny.policy("llama", **{**tiny.COMMON, "model_type": "qwen3", "head_dim": 4})
    assert row.packs(model) and not is_swapped(model)


def test_an_adapter_put_in_later_is_in_force() -> None:
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model, groups = tiny.policy(), tiny.groups(4, seed=3)
    before = score(model, groups).logp_NT.detach()
    attention = model.base_model.layers[0].self_attn
    real, doubled = attention.v_proj, Doubled(16, 16, bias=False).double()
    doubled.weight = real.weight
    attention.v_proj = doubled
    changed = score(model, groups).logp_NT.detach()
    assert (changed - before).abs().max() > 0.01
    attention.v_proj = real
    with torch.no_grad():
        real.weight.mul_(2)
    torch.testing.assert_close(score(model, groups).logp_NT, changed, rtol=0, atol=1e-12)
