"""Cutting a rollout's tables into groups and putting groups together again."""

import pytest
import torch

import tiny
import tiny_methods as made
from assent.methods.experience import minibatch, split, stack, weight_of
from ragged import ragged_mask


def weigh(config):
    return lambda item: weight_of(item.table["mask"], config)


def tables(groups, seed: int = 1) -> dict[str, torch.Tensor]:
    lengths = [len(answer) for _, answer in tiny.rows(groups)]
    mask_NT = ragged_mask(lengths, max(lengths) + 2)
    values_NT = torch.randn(mask_NT.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"mask": mask_NT, "value": values_NT.masked_fill(~mask_NT, 0.0)}


def test_split_then_stack_gives_the_tables_back() -> None:
    groups = tiny.groups(5, seed=1)
    whole = tables(groups)
    again = stack([e.table for e in split(groups, whole)])
    width = again["mask"].shape[1]
    assert width == max(len(answer) for _, answer in tiny.rows(groups))
    for name in whole:
        assert again[name].equal(whole[name][:, :width]) and not whole[name][:, width:].any()


def test_each_group_has_its_own_rows() -> None:
    groups, row = tiny.groups(5, seed=2), 0
    whole = tables(groups)
    for group, experience in zip(groups, split(groups, whole), strict=True):
        assert experience.group is group
        assert experience.table["mask"].sum(1).tolist() == [len(answer) for answer in group.answers]
        for k, answer in enumerate(group.answers):
            assert experience.table["value"][k, : len(answer)].equal(whole["value"][row + k, : len(answer)])
        row += len(group.answers)


@pytest.mark.parametrize("how, expected", [("token", 6.0), ("sequence", 3.0), ("constant", 18.0)])
def test_denominators_by_hand(how: str, expected: float) -> None:
    """Answers of 3, 1 and 2 tokens and one that is masked out; at most 6 tokens an answer."""
    groups = [
        tiny.TokenGroup("a", (6,), ((7, 8, 9), (7,)), ("a0", "a1")),
        tiny.TokenGroup("b", (6,), ((7, 8), (7, 8, 9, 10)), ("b0", "b1")),
    ]
    whole = tables(groups)
    whole["mask"][3] = False
    batch = minibatch(split(groups, whole), weigh(made.ppo_config(aggregation=how)), frozenset({"value"}))
    assert batch.weight == expected and batch.modules == {"value"}
    assert [(e.policy_denominator, e.token_denominator) for e in batch.items] == [(expected, 6.0)] * 2


def test_a_minibatch_without_a_token_is_none() -> None:
    groups = tiny.groups(2, seed=3)
    whole = tables(groups)
    whole["mask"][:] = False
    assert minibatch(split(groups, whole), weigh(made.ppo_config()), None) is None
    assert minibatch([], weigh(made.ppo_config()), None) is None
