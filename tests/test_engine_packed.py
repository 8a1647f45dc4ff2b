"""The packed row against the plain forward: values and gradients over random ragged groups."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from assent.core.errors import ModelError
from assent.data.collate import TokenGroup
from assent.engine import blocks, row, score
from assent.engine.packed import Packed
from assent.engine.padded import Padded
from assent.models.load import checkpoint_activations

EVERY = [*tiny.FAMILIES, "qwen3", *tiny.ODD_HEADS]
MORE = {"qwen3": {"model_type": "qwen3", **tiny.COMMON, "num_key_value_heads": 2, "head_dim": 8}}


def model_of(family: str, dtype: torch.dtype = torch.float64, **changes):
    if family in MORE:
        tiny.FAMILIES.setdefault(family, MORE[family])
    return tiny.policy(family, dtype=dtype, **changes)


def plain(model, groups: list[TokenGroup], **options):
    """`score` by the plain forward: each answer beside its own copy of the prompt."""
    packs, model.assent_packs = row.packs(model), False
    try:
        return score(model, groups, **options)
    finally:
        model.assent_packs = packs


def gradients(model, scores, weight_NT: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    total = (scores.logp_NT * weight_NT).sum()
    if scores.entropy_NT is not None:
        total = total + (scores.entropy_NT * weight_NT.cos()).sum()
    total.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def compare(model, groups: list[TokenGroup], tolerance: float, **options) -> None:
    """Values and gradients within `tolerance` of the largest element of each tensor."""
    assert row.packs(model)
    fast, slow = score(model, groups, **options), plain(model, groups, **options)
    weight_NT = torch.linspace(-1, 2, fast.mask_NT.numel(), dtype=slow.logp_NT.dtype).view(fast.mask_NT.shape)
    for name in ("logp_NT", "entropy_NT"):
        one, other = getattr(fast, name), getattr(slow, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert (one - other).detach().abs().max() <= tolerance * max(1.0, float(other.detach().abs().max())), name
    wanted = gradients(model, slow, weight_NT)
    for name, found in gradients(model, fast, weight_NT).items():
        assert (found - wanted[name]).abs().max() <= tolerance * max(1.0, float(wanted[name].abs().max())), name


RAGGED = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=6
)


def built(shapes: list[tuple[int, list[int]]], seed: int) -> list[TokenGroup]:
    draw = torch.Generator().manual_seed(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, tiny.VOCABULARY, (n,), generator=draw).tolist())

    return [
        TokenGroup(f"g{i}", ids(prompt), tuple(ids(n) for n in answers), tuple(f"{i}/{k}" for k in range(len(answers))))
        for i, (prompt, answers) in enumerate(shapes)
    ]


# Transformers' Gemma 2 attends in fp32 and masks with float64's lowest number, which is NaN there.
@pytest.mark.parametrize("family", [family for family in EVERY if family != "gemma2"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(shapes=RAGGED, seed=st.integers(0, 999))
def test_any_ragged_batch_in_float64(family: str, shapes, seed: int) -> None:
    tolerance = 1e-5 if family == "cohere" else 1e-9  # Cohere normalises in fp32, whatever its weights
    compare(model_of(family), built(shapes, seed), tolerance, temperature=0.7, entropy=True)


@pytest.mark.parametrize("family", EVERY)
def test_and_in_fp32(family: str) -> None:
    compare(model_of(family, torch.float32), tiny.groups(7, seed=11, answers=4), 1e-5, temperature=1.3)


@pytest.mark.parametrize("small", [0, 30, 10**9])
@pytest.mark.parametrize("family", ["llama-tied-gqa", "mistral", "gpt2"])
def test_however_attention_is_cut_into_blocks(family: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SMALL", small)
    monkeypatch.setattr(blocks, "SIMILAR", 0.95)
    compare(model_of(family), tiny.groups(9, seed=12, answers=5, longest=12, prompt=14), 1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_with_activations_checkpointed(family: str) -> None:
    """Hugging Face drops a cache there; ours is no cache. Every layer runs twice, and nothing changes."""
    model, groups = model_of(family), tiny.groups(6, seed=13, answers=4)
    wanted = gradients(model, plain(model, groups), torch.ones(()))
    checkpoint_activations(model)
    calls = []
    layers = model.base_model.h if family == "gpt2" else model.base_model.layers
    inner = layers[0].attn if family == "gpt2" else layers[0].self_attn
    inner.register_forward_hook(lambda *_: calls.append(1))
    scores = score(model, groups)
    for name, found in gradients(model, scores, torch.ones(())).items():
        assert (found - wanted[name]).abs().max() <= 1e-12 * max(1.0, float(wanted[name].abs().max())), name
    assert len(calls) == 2


def test_with_adapters_and_with_them_off() -> None:
    from peft import LoraConfig, get_peft_model

    groups = tiny.groups(6, seed=14, answers=4)
    base = score(tiny.policy(), groups).logp_NT.detach()
    model = get_peft_model(
        tiny.policy(), LoraConfig(r=3, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    )
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    compare(model, groups, 1e-9, entropy=True)
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained and all("lora_" in name for name in trained)
    assert (score(model, groups).logp_NT - base).abs().max() > 0.1
    with model.disable_adapter():
        torch.testing.assert_close(score(model, groups).logp_NT, base, rtol=0, atol=1e-12)


def test_an_adapter_on_the_head_is_refused_and_not_passed_over() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny.policy(), LoraConfig(r=3, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    with pytest.raises(ModelError, match="not a plain linear layer"):
        score(model, tiny.groups(2, seed=16))


def test_the_row_holds_every_prompt_once_and_no_padding() -> None:
    groups = built([(3, [2, 4, 1]), (5, [6])], seed=0)
    packed = Packed(groups, "cpu")
    assert sorted(packed.ids_Q.tolist()) == sorted(
        t for g in groups for t in (*g.prompt_ids, *(t for a in g.answers for t in a))
    )
    # The longer stem (5 + 6) first, then 3 + 2, then the branches of 4 and 1; positions go on from the prompt's.
    assert packed.positions_Q.tolist() == [*range(11), *range(5), 3, 4, 5, 6, 3]
    assert packed.before_M.tolist() == [13, 14, 13, 16, 17, 18, 13, 4, 5, 6, 7, 8, 9]
    assert packed.last_N.tolist() == [15, 19, 20, 10]


@pytest.mark.parametrize(("who", "leak"), [("sibling", 0), ("own future", 1), ("other group", 2)])
def test_no_token_sees_what_it_must_not(who: str, leak: int) -> None:
    """Change one token; only what may see it moves."""
    model = tiny.policy()
    group = built([(4, [5, 5, 5]), (4, [5, 5])], seed=3)
    before = score(model, group).logp_NT.detach()
    first = group[0]
    changed = (*first.answers[1][:-1], (first.answers[1][-1] + 1) % tiny.VOCABULARY)
    moved = [
        TokenGroup("g", first.prompt_ids, (first.answers[0], changed, first.answers[2]), first.answer_ids),
        group[1],
    ]
    after = score(model, moved).logp_NT.detach()
    seen = [[0, 2], [1], [3, 4]][leak]
    columns = slice(0, 4) if leak == 1 else slice(None)
    assert after[seen, columns].equal(before[seen, columns]), who
    assert after[1, 4] != before[1, 4]


def test_a_model_whose_layers_ignore_the_layout_is_run_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out by trial, said once, and still right."""
    model, groups = tiny.policy("gpt2"), tiny.groups(5, seed=15)
    wanted = score(model, groups).logp_NT
    deaf = tiny.policy("gpt2")
    for block in deaf.base_model.h:
        real = block.attn.forward
        monkeypatch.setattr(block.attn, "forward", lambda *a, real=real, layout=None, **o: real(*a, **o))
    assert not row.packs(deaf) and deaf.config._attn_implementation != "assent"
    torch.testing.assert_close(score(deaf, groups).logp_NT, wanted, rtol=0, atol=1e-9)


def test_neighbours_that_attend_wrongly_are_found_by_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: a model that is causal over the whole row, as a family with attention of its own would be."""
    model = tiny.policy()
    monkeypatch.setattr(
        blocks.Blocks,
        "attend",
        lambda self, layer, q, k, v, how: torch.nn.functional.scaled_dot_product_attention(
            *(x.transpose(0, 1)[None] for x in (q, k, v)), is_causal=True, scale=how.scale
        )[0].transpose(0, 1),
    )
    assert not row.packs(model)


def test_the_plain_rows_read_the_same_places() -> None:
    groups = built([(3, [2, 4]), (1, [1])], seed=5)
    plain_rows, packed = Padded(groups, "cpu"), Packed(groups, "cpu")
    assert plain_rows.mask_NT.equal(packed.mask_NT)
    assert plain_rows.answer_ids_M.equal(packed.answer_ids_M)
