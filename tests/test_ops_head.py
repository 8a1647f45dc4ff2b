"""The chunked head against whole logits, by hand, and by finite differences."""

import math

import pytest
import torch

from assent.ops import head as module
from assent.ops.head import Head, head_logp
from assent.ops.logprobs import entropy, token_logp

CASES = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "scale": {"scale": 0.25, "temperature": 2.0},
    "cap": {"cap": 2.0, "scale": 1.5, "temperature": 0.7},
}


def made(m: int = 7, hidden: int = 5, vocabulary: int = 11, bias: bool = False, dtype=torch.float64, **options):
    draw = torch.Generator().manual_seed(3)
    hidden_MH = torch.randn(m, hidden, generator=draw, dtype=dtype, requires_grad=True)
    weight_VH = torch.randn(vocabulary, hidden, generator=draw, dtype=dtype, requires_grad=True)
    bias_V = torch.randn(vocabulary, generator=draw, dtype=dtype, requires_grad=True) if bias else None
    ids_M = torch.randint(0, vocabulary, (m,), generator=draw)
    return Head(weight_VH, bias_V, **options), hidden_MH, ids_M


def whole(head: Head, hidden_MH, ids_M):
    """Oracle: all logits at once, by the functions of ops/logprobs.py."""
    logits = torch.nn.functional.linear(hidden_MH, head.weight_VH, head.bias_V) * head.scale
    if head.cap is not None:
        logits = head.cap * torch.tanh(logits / head.cap)
    return token_logp(logits, ids_M, head.temperature), entropy(logits, head.temperature)


def test_two_tokens_by_hand() -> None:
    """Logits ln 3 and 0: p = 3/4, 1/4."""
    head = Head(torch.tensor([[math.log(3.0)], [0.0]], dtype=torch.float64))
    logp, ent = head_logp(head, torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 1]), entropy=True)
    assert logp.tolist() == pytest.approx([math.log(0.75), math.log(0.25)])
    assert ent.tolist() == pytest.approx([-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))] * 2)


@pytest.mark.parametrize("chunk", [1, 3, 10**9])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_whole_logits(case: str, bias: bool, chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "FEWEST", min(chunk, 3))
    head, hidden_MH, ids_M = made(bias=bias, **CASES[case])
    inputs = [hidden_MH, head.weight_VH, *([head.bias_V] if bias else [])]
    weight = torch.linspace(-1, 2, 7, dtype=torch.float64)
    outs = [f(head, hidden_MH, ids_M) for f in (lambda *a: head_logp(*a, entropy=True), whole)]
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-12)
    found, wanted = (torch.autograd.grad((l * weight).sum() + (e * weight.cos()).sum(), inputs) for l, e in outs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_gradcheck(case: str, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "FEWEST", 2)
    head, hidden_MH, ids_M = made(m=5, hidden=3, vocabulary=6, bias=True, **CASES[case])

    def both(hidden, weight, bias):
        return head_logp(head._replace(weight_VH=weight, bias_V=bias), hidden, ids_M[:5] % 6, entropy=True)

    assert torch.autograd.gradcheck(both, (hidden_MH, head.weight_VH, head.bias_V))


def test_a_frozen_head_passes_the_gradient_on() -> None:
    head, hidden_MH, ids_M = made()
    frozen = head._replace(weight_VH=head.weight_VH.detach())
    (found,) = torch.autograd.grad(head_logp(frozen, hidden_MH, ids_M)[0].sum(), [hidden_MH])
    (wanted,) = torch.autograd.grad(whole(head, hidden_MH, ids_M)[0].sum(), [hidden_MH])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_logits_of_all_positions_are_never_held(monkeypatch) -> None:
    """Planted: 300 positions x 11 words in chunks of 2; no tensor of more than 2 rows of logits is made."""
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "FEWEST", 2)
    head, hidden_MH, ids_M = made(m=300)
    sizes: list[int] = []
    real = Head.logits
    monkeypatch.setattr(Head, "logits", lambda self, h: (sizes.append(len(h)), real(self, h))[1])
    head_logp(head, hidden_MH, ids_M)[0].sum().backward()
    assert max(sizes) == 2 and len(sizes) == 300  # forward and backward, 150 chunks each


def test_an_id_that_cannot_be_sampled_has_no_part_in_the_entropy() -> None:
    bias = torch.zeros(11, dtype=torch.float64)
    bias[4] = -math.inf
    head, hidden_MH, _ = made()
    head = head._replace(bias_V=bias)
    logp, ent = head_logp(head, hidden_MH, torch.zeros(7, dtype=torch.long), entropy=True)
    (logp.sum() + ent.sum()).backward()
    keep = [v for v in range(11) if v != 4]
    rest = Head(head.weight_VH.detach()[keep])
    torch.testing.assert_close(ent, head_logp(rest, hidden_MH, torch.zeros(7, dtype=torch.long), True)[1])
    assert bool(torch.isfinite(hidden_MH.grad).all())


def test_pieces_add_up_in_place() -> None:
    """Two pieces: the second adds to the first's gradient, into the same memory, and the sum is the whole's."""
    head, hidden_MH, ids_M = made()
    (wanted,) = torch.autograd.grad(head_logp(head, hidden_MH, ids_M)[0].sum(), [head.weight_VH])
    with module.gradients_in_place():
        head_logp(head, hidden_MH[:3], ids_M[:3])[0].sum().backward()
        place = head.weight_VH.grad.data_ptr()
        head_logp(head, hidden_MH[3:], ids_M[3:])[0].sum().backward()
    assert head.weight_VH.grad.data_ptr() == place
    torch.testing.assert_close(head.weight_VH.grad, wanted, rtol=0, atol=1e-12)
    outside = torch.autograd.grad(head_logp(head, hidden_MH, ids_M)[0].sum(), [head.weight_VH])
    torch.testing.assert_close(outside[0], wanted, rtol=0, atol=1e-12)  # not in place where nobody asked


def test_no_positions() -> None:
    head, hidden_MH, ids_M = made()
    logp, _ = head_logp(head, hidden_MH[:0], ids_M[:0])
    assert logp.shape == (0,)
    logp.sum().backward()


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    head, hidden_MH, ids_M = made()
    with pytest.raises(ValueError, match="temperature must be above 0"):
        head_logp(head._replace(temperature=temperature), hidden_MH, ids_M)


def test_bf16_hidden_states_give_fp32_log_probs() -> None:
    head, hidden_MH, ids_M = made(dtype=torch.float32)
    exact = head_logp(head, hidden_MH, ids_M)[0]
    rough = head_logp(head, hidden_MH.bfloat16(), ids_M)[0]
    assert rough.dtype is torch.float32
    assert 1e-6 < float((rough - exact).detach().abs().max()) < 0.1
