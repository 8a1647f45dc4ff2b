"""A reward model as a scorer: exact ids where it shares the policy's tokenizer, else the text."""

from __future__ import annotations

import pytest
import torch

import tiny
from assent.core.records import Answer, Group, Prompt
from assent.data.render import encode, tokenizer_fingerprint
from assent.rewards.model import ModelReward


def by_hand(model, ids: tuple[int, ...]) -> float:
    """Head at the last token of one unpadded row, through plain transformers."""
    hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    return float(model.score(hidden).detach()) + model.config.reward_shift


@pytest.fixture(scope="module")
def reward() -> ModelReward:
    return ModelReward("rm", tiny.reward_model(shift=0.25), tiny.tokenizer())


def test_written_answers_score_as_one_row_by_plain_transformers(reward: ModelReward) -> None:
    groups = [tiny.group(p, "w1 w2 w3", "w4", "w5 w6") for p in tiny.prompts(5)]
    scores = reward.score(groups)
    for group, row in zip(groups, scores, strict=True):
        for answer, value in zip(group.answers, row, strict=True):
            encoded = encode(reward.tokenizer, group.prompt, answer.text)
            assert value == pytest.approx(by_hand(reward.model, encoded.prompt_ids + encoded.answer_ids), abs=1e-10)


def test_a_small_budget_changes_no_score(reward: ModelReward) -> None:
    groups = [tiny.group(p, "w1 w2 w3", "w4") for p in tiny.prompts(6)]
    small = ModelReward("rm", reward.model, reward.tokenizer, token_budget=1)
    assert small.score(groups) == [pytest.approx(row, abs=1e-10) for row in reward.score(groups)]


def test_ids_of_the_same_tokenizer_are_scored_as_they_were_sampled(reward: ModelReward) -> None:
    """The ids say w1, the text something else: with the sampler's own tokenizer the ids count."""
    prompt, mark = tiny.prompts(1)[0], tokenizer_fingerprint(reward.tokenizer)
    ids = tuple(reward.tokenizer.convert_tokens_to_ids(["w1", "<eos>"]))
    sampled = Answer(id="s", text="w9", token_ids=ids, tokenizer=mark)
    (row,) = reward.score([Group(prompt=prompt, answers=(sampled,))])
    (expected,) = reward.score([tiny.group(prompt, "w1")])
    assert row == pytest.approx(expected, abs=1e-10)


def test_another_tokenizer_reads_the_text(reward: ModelReward) -> None:
    """Ids of a foreign vocabulary mean nothing here, even where they are in range."""
    prompt = tiny.prompts(1)[0]
    foreign = Answer(id="s", text="w7 w8", token_ids=(30, 31, 32, 2), tokenizer="another")
    (row,) = reward.score([Group(prompt=prompt, answers=(foreign,))])
    assert row == pytest.approx(reward.score([tiny.group(prompt, "w7 w8")])[0], abs=1e-10)


def test_an_answer_that_was_cut_has_no_end(reward: ModelReward) -> None:
    """In a foreign tokenizer too, truncation must be seen: no EOS is added behind it."""
    prompt = tiny.prompts(1)[0]
    whole, cut = (Answer(id=f, text="w7 w8", finish=f) for f in ("stop", "length"))
    (row,) = reward.score([Group(prompt=prompt, answers=(whole, cut))])
    assert row[0] != pytest.approx(row[1], abs=1e-6)
    encoded = encode(reward.tokenizer, prompt, "w7 w8")
    assert row[1] == pytest.approx(by_hand(reward.model, encoded.prompt_ids + encoded.answer_ids[:-1]), abs=1e-10)


def test_what_the_reward_model_cannot_read_is_missing_not_zero(reward: ModelReward) -> None:
    """A smaller model may have a shorter context than the policy: the run goes on, the answer is unscored."""
    first, second = tiny.prompts(2)
    long = tiny.group(first, "w1", " ".join(["w2"] * 80))
    assert reward.score([long, tiny.group(second, "w3")])[0] == [None, None]
    (known,) = reward.score([long, tiny.group(second, "w3")])[1:]
    assert known == pytest.approx(reward.score([tiny.group(second, "w3")])[0], abs=1e-10)
    assert reward.score([long]) == [[None, None]]


def test_the_same_group_twice_is_scored_twice(reward: ModelReward) -> None:
    group = tiny.group(Prompt.ask("w1"), "w2", "w3")
    first, second = reward.score([group, group])
    assert first == second
    assert first is not second
