"""Reward and value heads: how they start, and what normalising a reward model does to its scores."""

import math

import pytest
import torch

import tiny
from assent.core.errors import ModelError
from assent.engine.score import score
from assent.models import heads

FAMILIES = list(tiny.FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reward_model_starts_on_the_policys_trunk(family: str) -> None:
    policy = tiny.policy(family)
    model = heads.reward_model_from(policy, tiny.tokenizer(), seed=1)
    for (name, ours), (_, its) in zip(
        model.base_model.state_dict().items(), policy.base_model.state_dict().items(), strict=True
    ):
        assert ours.equal(its), name  # bit for bit, in float64 too
    assert heads.head(model).bias is None and heads.head(model).weight.shape == (1, 16)
    assert next(model.parameters()).data_ptr() != next(policy.parameters()).data_ptr()
    assert not model.training


def test_the_head_is_normal_with_deviation_one_over_root_hidden_plus_one() -> None:
    """Over 60 seeds x 16 weights: mean 0, deviation 1/sqrt(17), within five standard errors."""
    policy, tokenizer = tiny.policy(), tiny.tokenizer()
    found = torch.cat([heads.head(heads.reward_model_from(policy, tokenizer, s)).weight[0] for s in range(60)])
    std, n = 1 / math.sqrt(17), found.numel()
    assert abs(found.mean()) < 5 * std / math.sqrt(n)
    assert abs(found.std() - std) < 5 * std / math.sqrt(2 * n)


def test_the_seed_decides_the_head_alone() -> None:
    policy, tokenizer = tiny.policy(), tiny.tokenizer()
    torch.manual_seed(1)
    first = heads.reward_model_from(policy, tokenizer, 3).state_dict()
    torch.manual_seed(2)
    second = heads.reward_model_from(policy, tokenizer, 3).state_dict()
    assert all(first[name].equal(second[name]) for name in first)
    other = heads.reward_model_from(policy, tokenizer, 4).state_dict()
    assert [name for name in first if not first[name].equal(other[name])] == ["score.weight"]


@torch.no_grad()
def test_normalising_makes_mean_0_and_deviation_1() -> None:
    model, groups = tiny.reward_model(shift=0.4), tiny.groups(12, seed=1)
    before_N = score(model, groups).reward_N
    mean, std = float(before_N.mean()), float(before_N.std())
    assert abs(mean) > 0.1 and abs(std - 1) > 0.1
    heads.normalise(model, mean, std)
    after_N = score(model, groups).reward_N
    assert float(after_N.mean()) == pytest.approx(0, abs=1e-12)
    assert float(after_N.std()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(after_N * std + mean, before_N, rtol=0, atol=1e-12)  # nothing else changed
    assert after_N.argsort().equal(before_N.argsort())
    heads.normalise(model, 0.0, 1.0)
    torch.testing.assert_close(score(model, groups).reward_N, after_N, rtol=0, atol=0)


@torch.no_grad()
def test_a_value_model_starts_as_a_copy_of_the_reward_model() -> None:
    reward, groups = tiny.reward_model(shift=0.4), tiny.groups(4, seed=2)
    value = heads.value_model_from(reward)
    assert score(value, groups).reward_N.equal(score(reward, groups).reward_N)
    heads.head(value).weight.add_(1.0)
    assert not score(value, groups).reward_N.equal(score(reward, groups).reward_N)


@torch.no_grad()
def test_a_shared_head_starts_at_0() -> None:
    policy, groups = tiny.policy("gpt2"), tiny.groups(4, seed=3)
    value_NT = score(policy, groups, value_head=heads.value_head(policy)).value_NT
    assert value_NT.dtype == torch.float64 and not value_NT.any()


def test_pad_must_differ_from_eos() -> None:
    """With pad == EOS, Hugging Face pools the token before EOS; another special token stands in, or none."""
    policy = tiny.policy()
    assert heads.reward_model_from(policy, tiny.tokenizer(), 0).config.pad_token_id == tiny.PAD
    shared = tiny.tokenizer(pad_token="<eos>")
    assert shared.pad_token_id == shared.eos_token_id
    assert heads.reward_model_from(policy, shared, 0).config.pad_token_id == 3  # <unk>
    bare = tiny.tokenizer(pad_token="<eos>", unk_token=None, bos_token=None)
    with pytest.raises(ModelError, match="no pad token that differs from EOS"):
        heads.reward_model_from(policy, bare, 0)


def test_a_model_without_a_linear_head_is_refused() -> None:
    with pytest.raises(ModelError, match="no linear `score` head"):
        heads.head(tiny.policy())
