"""Rewards and values from `engine.score`: at which token each is read, and what plain transformers says."""

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

import tiny
from assent.data.collate import TokenGroup
from assent.engine import score, score_all
from assent.models import heads

FAMILIES = list(tiny.FAMILIES)
EXACT = {"rtol": 0.0, "atol": 1e-9}


def read_at(model, ids: tuple[int, ...]) -> Tensor:
    """Oracle: the head on the last position of one unpadded row."""
    hidden_SH = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return model.score(hidden_SH[-1])[0] + model.config.reward_shift


def slow_values(model, prompt: tuple[int, ...], answer: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """value_T from the prefix that ends *before* token t, nothing after it in the row; and from one more."""
    reads = torch.stack([read_at(model, (*prompt, *answer[:t])) for t in range(len(answer) + 1)])
    return reads[:-1], reads[1:]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_reward_is_read_at_the_last_answer_token(family: str) -> None:
    model, groups = tiny.reward_model(family, shift=-0.3), tiny.groups(6, seed=1)
    expected_N = torch.stack([read_at(model, (*p, *a)) for p, a in tiny.rows(groups)])
    torch.testing.assert_close(score(model, groups).reward_N, expected_N, **EXACT)
    assert expected_N.std() > 0.1
    for budget in (1, 50):
        torch.testing.assert_close(score_all(model, groups, budget).reward_N, expected_N, **EXACT)
        split_N = score_all(model, tiny.singles(groups), budget).reward_N
        torch.testing.assert_close(split_N, expected_N, **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_plain_transformers_gives_the_same_reward(family: str, tmp_path) -> None:
    """Saved, loaded without our code, fed a right-padded batch: its own forward, plus the shift."""
    model, groups = tiny.reward_model(family, dtype=torch.float32, shift=0.7), tiny.groups(6, seed=2)
    model.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert plain.config.num_labels == 1
    whole = [(*p, *a) for p, a in tiny.rows(groups)]
    pad, width = plain.config.pad_token_id, max(map(len, whole))
    ids_NS = torch.tensor([[*row, *[pad] * (width - len(row))] for row in whole])
    attention_NS = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in whole])
    logits_N1 = plain(input_ids=ids_NS, attention_mask=attention_NS).logits
    found_N = score(model, groups).reward_N
    torch.testing.assert_close(found_N, logits_N1[:, 0] + plain.config.reward_shift, rtol=0, atol=1e-5)
    assert plain.config.reward_shift == 0.7


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_value_is_read_before_its_token(family: str) -> None:
    model, groups = tiny.reward_model(family, shift=0.2), tiny.groups(3, seed=3)
    value_NT = score(model, groups, read="value").value_NT
    for n, (prompt, answer) in enumerate(tiny.rows(groups)):
        expected_T, after_T = slow_values(model, prompt, answer)
        torch.testing.assert_close(value_NT[n, : len(answer)], expected_T, **EXACT)
        assert (after_T - expected_T).abs().max() > 0.01  # off by one would be seen


@torch.no_grad()
def test_a_value_knows_nothing_of_its_token_or_later_ones() -> None:
    model = tiny.reward_model()
    first, second = (8, 9, 10, 11), (8, 9, 30, 31)  # they part at t = 2
    group = TokenGroup("g", (6, 7), (first, second), ("a", "b"))
    value_NT = score(model, [group], read="value").value_NT
    torch.testing.assert_close(value_NT[0, :3], value_NT[1, :3], **EXACT)
    assert (value_NT[0, 3] - value_NT[1, 3]).abs() > 0.01


@pytest.mark.parametrize("family", ["llama-tied-gqa", "gpt2"])
@torch.no_grad()
def test_a_head_on_the_policys_trunk_reads_at_the_same_place(family: str) -> None:
    policy, groups = tiny.policy(family), tiny.groups(2, seed=4)
    head = heads.value_head(policy)
    torch.nn.init.normal_(head.weight)
    head.bias.fill_(0.5)
    scores = score(policy, groups, value_head=head)
    for n, (prompt, answer) in enumerate(tiny.rows(groups)):
        for t in range(len(answer)):
            hidden_SH = policy.base_model(torch.tensor([[*prompt, *answer[:t]]])).last_hidden_state[0]
            torch.testing.assert_close(scores.value_NT[n, t], head(hidden_SH[-1])[0], **EXACT)
    torch.testing.assert_close(scores.logp_NT, score(policy, groups).logp_NT, **EXACT)


@torch.no_grad()
def test_values_and_rewards_come_back_in_input_order() -> None:
    model, groups = tiny.reward_model(), tiny.groups(7, seed=5)
    whole = score(model, groups, read="value")
    cut = score_all(model, groups, 30, read="value")
    torch.testing.assert_close(
        cut.value_NT.masked_fill(~cut.mask_NT, 0), whole.value_NT.masked_fill(~whole.mask_NT, 0), **EXACT
    )
    reward_N = score_all(model, groups, 30).reward_N
    backwards_N = score_all(model, tiny.singles(groups)[::-1], 30).reward_N
    torch.testing.assert_close(backwards_N.flip(0), reward_N, **EXACT)
