"""What the sampling rows of the benchmarks share, without any peer: the oracle, the refusal, the given answers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks import rollouts, session, side, workload
from benchmarks.ours import grpo, rollout
from benchmarks.rollouts import Sampled
from benchmarks.workload import EOS, Ids, Task, Work

WORK = Work(groups=2, prompt=(3, 5), answers=3, answer=(12, 12), vocabulary=40)
SETTINGS = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "max_grad_norm": 1.0}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        small = {**workload.SMALL, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 32}
        patch.setitem(workload.ARCHITECTURES, "small", {**small, "num_attention_heads": 2, "num_key_value_heads": 2})
        workload.build(folder, WORK, ("policy",))
    return Task(row="x", folder=str(folder), work=vars(WORK), threads=1, settings=SETTINGS)


def always(logits: list[float]) -> Any:
    """A model that gives these logits whatever it reads."""
    return lambda input_ids, use_cache: SimpleNamespace(logits=torch.tensor(logits).expand(1, input_ids.shape[1], -1))


def test_plain_log_probs_by_hand() -> None:
    """Probabilities 1/2, 1/3 and 1/6 of ids 0, 1 and 2."""
    model = always([math.log(3), math.log(2), 0.0])
    found = rollouts.plain_logps(model, [0, 0], [2, 0, 1])
    assert found.exp().tolist() == pytest.approx([1 / 6, 1 / 2, 1 / 3])


def test_even_words_by_hand() -> None:
    """Of 2, 4, 7 two in three are even; words that are no token do not count, nor does an empty answer."""
    assert rollouts.even_words(["t2 t4 t7", "t1 <eos> x8", ""], prompts=None) == pytest.approx([2 / 3 - 0.5, -0.5, 0.0])


def test_given_answers_are_of_one_length_or_ragged() -> None:
    groups = [Ids([5], [[7] * 9 + [EOS], [8] * 9 + [EOS], [9] * 9 + [EOS]])]
    assert [len(answer) for answer in rollouts.given(groups)[0].answers] == [9, 9, 9]
    assert rollouts.given(groups, ragged=True)[0].answers == [[7] * 9, [8] * 6, [9] * 3]


def test_our_sampler_agrees_with_the_oracle_and_a_wrong_log_prob_is_refused(task: Task) -> None:
    ours = rollout.build(task)
    drawn = ours._draw()
    assert [[len(answer) for answer in sampled.answers] for sampled in drawn] == [[12] * 3] * 2
    assert ours.loss()["gap"] < 1e-5
    wrong = [drawn[0], Sampled(drawn[1].answers, [*drawn[1].logps[:2], [x + 2e-4 for x in drawn[1].logps[2]]])]
    assert rollouts.widest(task, wrong) == pytest.approx(2e-4, abs=1e-5)
    with pytest.raises(ValueError, match=r"differ from a plain forward pass by 2\.0e-04"):
        rollouts.agreement(task, drawn, wrong)


def test_the_greedy_loss_is_the_mean_over_tokens(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "widest", lambda *_: 0.0)
    greedy = [Sampled([[3, 4]], [[-1.0, -3.0]]), Sampled([[5]], [[-5.0]])]
    assert rollouts.agreement(task, greedy, []) == {"loss": 3.0, "gap": 0.0}


def test_given_answers_take_the_place_of_drawn_ones_once(task: Task) -> None:
    """The first loss is -(sum of advantage x length) / (sum of lengths): ratio 1, nothing clipped."""
    ours = grpo.build(task)
    before = [p.clone() for p in ours.method.policy.parameters()]
    found = ours.loss()
    total = tokens = 0.0
    for _, answers in ours.answers:
        scores = torch.tensor(rollouts.even_words([workload.text(answer) for answer in answers]))
        advantages = (scores - scores.mean()) / (scores.std() + 1e-4)
        total -= sum(float(a) * len(answer) for a, answer in zip(advantages, answers, strict=True))
        tokens += sum(map(len, answers))
    assert abs(total) > 0.1
    assert found["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert found["grad_norm"] > 0
    after = list(ours.method.policy.parameters())
    assert all(p.equal(q) and q.grad is None for p, q in zip(before, after, strict=True))
    ours.step()
    lengths = {len(a) for tokens in ours.method.last_rollout.tokens for a in tokens.answers}
    assert lengths == {12}
    assert not all(p.equal(q) for p, q in zip(before, after, strict=True))


def test_gradients_that_disagree_are_refused_where_a_row_asks_for_it() -> None:
    ours, theirs = {"loss": 1.0, "grad_norm": 1.0}, {"loss": 1.0, "grad_norm": 1.01}
    assert session.check_agreement(ours, theirs, gradients=0.02)["grad_norm_difference"] == pytest.approx(1 / 101)
    for wrong in (1.01, float("nan")):
        with pytest.raises(side.Refused, match="gradient norms differ"):
            session.check_agreement(ours, {**theirs, "grad_norm": wrong}, gradients=1e-3)


def test_no_token_ends_an_answer(task: Task) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task.model("policy"))
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=EOS))
    rollouts.endless(model, tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == WORK.vocabulary
    assert tokenizer("t5 t9")["input_ids"] == [5, 9]
