"""`engine.score` against plain transformers, one unpadded row at a time."""

import pytest
import torch
from torch import Tensor

import tiny
from assent.data import collate
from assent.engine import Scores, packed, score, score_all

FAMILIES = list(tiny.FAMILIES)
EXACT = {"rtol": 0.0, "atol": 1e-9}
NEAR = {"rtol": 0.0, "atol": 1e-5}


def slow_logp(model, groups, temperature: float = 1.0) -> Tensor:
    """logp_NT row by row, 0 in the padding."""
    rows = tiny.rows(groups)
    table_NT = torch.zeros(len(rows), max(len(answer) for _, answer in rows), dtype=next(model.parameters()).dtype)
    for n, (prompt, answer) in enumerate(rows):
        logp_TV = tiny.alone(model, prompt, answer, temperature)
        for t, token in enumerate(answer):
            table_NT[n, t] = logp_TV[t, token]
    return table_NT


def slow_entropy(model, groups, temperature: float) -> list[Tensor]:
    found = [tiny.alone(model, prompt, answer, temperature) for prompt, answer in tiny.rows(groups)]
    return [-(logp_TV.exp() * logp_TV).sum(-1) for logp_TV in found]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_ragged_batch_scores_as_its_rows_alone(family: str) -> None:
    model, groups = tiny.policy(family), tiny.groups(6, seed=1)
    scores = score(model, groups, temperature=0.7, entropy=True)
    torch.testing.assert_close(scores.logp_NT, slow_logp(model, groups, 0.7), **EXACT)
    for n, entropy_T in enumerate(slow_entropy(model, groups, 0.7)):
        torch.testing.assert_close(scores.entropy_NT[n, : len(entropy_T)], entropy_T, **EXACT)
    lengths = [len(answer) for _, answer in tiny.rows(groups)]
    assert scores.mask_NT.sum(1).tolist() == lengths  # EOS counts
    assert scores.mask_NT.cummin(1).values.equal(scores.mask_NT)  # answers stand at the left edge


@pytest.mark.parametrize("family", [*FAMILIES, *tiny.ODD_HEADS])
@torch.no_grad()
def test_in_fp32_to_1e_5(family: str) -> None:
    model, groups = tiny.policy(family, dtype=torch.float32), tiny.groups(6, seed=2)
    torch.testing.assert_close(score(model, groups).logp_NT, slow_logp(model, groups), **NEAR)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_same_grouped_split_reversed_or_cut(family: str) -> None:
    model, groups = tiny.policy(family), tiny.groups(7, seed=3)
    whole = score_all(model, groups, 10**6, entropy=True)
    width = whole.mask_NT.shape[1]
    for budget in (1, 40, 90):
        same(score_all(model, groups, budget, entropy=True), whole)
    same(score_all(model, tiny.singles(groups), 60, entropy=True), whole)
    backwards = score_all(model, tiny.singles(groups)[::-1], 10**6, entropy=True)
    same(Scores(*(None if x is None else x.flip(0) for x in backwards)), whole)
    first = score(model, tiny.singles(groups)[:1])
    n = first.logp_NT.shape[1]
    torch.testing.assert_close(first.logp_NT[0], whole.logp_NT[0, :n], **EXACT)
    assert n <= width


def same(found: Scores, wanted: Scores) -> None:
    assert found.mask_NT.equal(wanted.mask_NT)
    torch.testing.assert_close(found.logp_NT, wanted.logp_NT, **EXACT)
    torch.testing.assert_close(
        found.entropy_NT.masked_fill(~found.mask_NT, 0),
        wanted.entropy_NT.masked_fill(~wanted.mask_NT, 0),
        **EXACT,
    )


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_id_of_padding_does_not_matter(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding is known by length: pad == EOS, or any other id, changes no bit."""
    model, groups = tiny.policy(family), tiny.groups(6, seed=4)
    before = score(model, groups).logp_NT
    for pad in (tiny.EOS, 17):
        monkeypatch.setattr(collate, "PAD", pad)
        assert score(model, groups).logp_NT.equal(before)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_these_tests_see_wrong_positions(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: every position one too far. GPT-2's are absolute; Llama's only relative, so the same
    shift within a row changes nothing there, which is why both families are tested."""
    model, groups = tiny.policy(family), tiny.groups(6, seed=1)
    real = packed.forward

    def one_too_far(model, ids_Q, positions_Q, layout):
        return real(model, ids_Q, positions_Q + 1, layout)

    score(model, groups)  # the trial of the way it is run must not see the fault
    monkeypatch.setattr(packed, "forward", one_too_far)
    gap = (score(model, groups).logp_NT - slow_logp(model, groups)).abs().max()
    assert (gap > 0.01) == (family == "gpt2")


@torch.no_grad()
def test_an_answer_of_one_token_and_a_prompt_of_one() -> None:
    model = tiny.policy()
    group = collate.TokenGroup("g", (7,), ((tiny.EOS,), (9,)), ("a", "b"))
    expected = tiny.alone(model, (7,), (tiny.EOS,))[0, [tiny.EOS, 9]]
    torch.testing.assert_close(score(model, [group]).logp_NT[:, 0], expected, **EXACT)


def gradient(model, groups, budget: int) -> dict[str, Tensor]:
    from assent.engine.budget import cut

    model.zero_grad()
    for piece in cut(groups, budget):
        score(model, [groups[i] for i in piece], temperature=0.8).logp_NT.sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_the_rows_alone(family: str) -> None:
    """1e-12 in float64, relative to the largest element of each tensor."""
    model, groups = tiny.policy(family), tiny.groups(6, seed=5)
    model.zero_grad()
    slow_logp(model, groups, 0.8).sum().backward()
    slow = {name: p.grad.clone() for name, p in model.named_parameters()}
    for given, budget in ((groups, 10**6), (groups, 50), (tiny.singles(groups), 1)):
        for name, found in gradient(model, given, budget).items():
            assert (found - slow[name]).abs().max() <= 1e-12 * max(1.0, float(slow[name].abs().max())), name
