"""SFT's wiring: which rows come when, what is trained on, what is counted."""

import math
from pathlib import Path

import pytest
import torch

import tiny
import tiny_methods as made
from assent.data.collate import TokenGroup
from assent.data.render import encode_groups
from assent.methods.sft import held_out_loss, window
from assent.train import loop
from assent.train.tracking import read_metrics


@pytest.mark.parametrize("n, size", [(12, 4), (12, 5), (3, 7), (1, 1)])
def test_every_row_comes_once_a_pass(n: int, size: int) -> None:
    stream = [i for step in range(30) for i in window(n, size, step, seed=4)]
    assert len(stream) == 30 * size
    for first in range(0, len(stream) - n + 1, n):
        assert sorted(stream[first : first + n]) == list(range(n))


def test_passes_are_shuffled_by_the_seed_and_differently() -> None:
    passes = [window(12, 12, step, seed=4) for step in range(3)]
    assert len({tuple(p) for p in passes}) == 3
    assert window(12, 12, 0, seed=5) != passes[0]
    assert window(12, 12, 1, seed=4) == passes[1]  # a function of the step: nothing to save
    assert window(3, 5, 0, seed=None) == [0, 1, 2, 0, 1]


def test_the_loss_is_on_the_answer_and_all_of_it() -> None:
    """Rendered from text: the prompt's tokens bear no loss, every answer token and <eos> does."""
    tokenizer, policy = tiny.tokenizer(), tiny.policy()
    (row,), _ = encode_groups([tiny.group(tiny.prompts(1)[0], "w1 w2 w3")], tokenizer)
    assert row.answers[0][-1] == tiny.EOS and len(row.answers[0]) == 4
    method = made.Sft(policy, [row], made.OPTIMISER, batch=1, steps=1, seed=0)
    (batch,) = method.batches(0)
    assert batch.weight == 4
    logits = policy(torch.tensor([[*row.prompt_ids, *row.answers[0]]])).logits[0].detach().requires_grad_()
    logp = torch.log_softmax(logits, -1)
    first = len(row.prompt_ids) - 1
    slow = -sum(logp[first + t, token] for t, token in enumerate(row.answers[0]))
    (gradient,) = torch.autograd.grad(slow, logits)
    assert (gradient.abs().sum(1) > 1e-6).tolist() == [False] * first + [True] * 4 + [False]
    assert method.loss(batch.items).total.item() == pytest.approx(slow.item(), abs=1e-9)


def test_tokens_and_passes_are_counted_and_survive(tmp_path: Path) -> None:
    method = made.sft(steps=4)
    loop.run(method, made.limits(), tmp_path, "sft")
    rows = read_metrics(tmp_path)
    seen = [sum(method.rows[i].tokens for i in window(12, 8, step, 1)) for step in range(4)]
    assert [row["num_tokens"] for row in rows] == [sum(seen[: s + 1]) for s in range(4)]
    other = made.sft(steps=4)
    other.load_state(method.state())
    assert other.observe(3) == method.observe(3)


def test_held_out_loss_is_a_mean_over_tokens() -> None:
    """A model that is certain of nothing (all logits equal) pays ln V a token, whatever the lengths."""
    model, groups = tiny.policy(), tiny.groups(6, seed=5, answers=1)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    for budget in (1, 10**6):
        assert held_out_loss(model, groups, budget) == pytest.approx(math.log(tiny.VOCABULARY), abs=1e-9)


def test_it_learns_its_rows_by_heart(tmp_path: Path) -> None:
    rows = [TokenGroup(f"g{i}", (6 + i,), ((10 + i, 20 + i, tiny.EOS),), (f"a{i}",)) for i in range(4)]
    policy = tiny.policy(dtype=torch.float32)
    optimiser = made.OPTIMISER.model_copy(update={"lr": 3e-2})
    method = made.Sft(policy, rows, optimiser, batch=4, steps=40, seed=0)
    loop.run(method, made.limits(checkpoint_every=100), tmp_path, "sft")
    assert held_out_loss(policy, rows, 10**6) < 0.05
    ids = policy.generate(torch.tensor([[8]]), do_sample=False, max_new_tokens=3, eos_token_id=tiny.EOS, pad_token_id=0)
    assert ids[0].tolist() == [8, 12, 22, tiny.EOS]
