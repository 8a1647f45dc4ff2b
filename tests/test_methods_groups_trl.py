"""GRPO and RLOO against TRL's own trainers: advantages, loss and gradient of the same ragged answers.

TRL's trainer is built as a user builds it, and given our answers where it would sample. Both policies then move by
the same step, so that ratios are not 1 and some are clipped.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.methods.experience import stack
from assent.train import loop
from assent.train.method import Batch

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

LONGEST, ANSWERS = 6, 3
CLOSE = 1e-5


def saved(folder: Path) -> Path:
    """Folder of the reference, which every policy here starts from."""
    model = tiny.policy()
    model.generation_config.eos_token_id = made.STOP
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def trainer_of(kind: str, folder: Path, method: Any, batch: Batch, **settings: Any) -> tuple[Any, dict[str, Tensor]]:
    """TRL's trainer, its policy in the state of ours, and what it makes of our answers and their scores."""
    import trl
    from datasets import Dataset

    rows = [(item.group.prompt_ids, answer) for item in batch.items for answer in item.group.answers]
    records = {answer.id: answer for group in method.last_rollout.groups for answer in group.answers}
    scores = [made.even_words(records[name]) for item in batch.items for name in item.group.answer_ids]
    arguments = {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": len(rows),
        "gradient_accumulation_steps": 1,
        "num_generations": ANSWERS,
        "max_completion_length": method.config.sampling.max_tokens,
        "temperature": 0.9,
        "report_to": "none",
        "model_init_kwargs": {"dtype": "auto"},
        **settings,
    }
    config, make = (getattr(trl, f"{kind}{part}") for part in ("Config", "Trainer"))
    asked = [{"prompt": f"w{i // ANSWERS}"} for i in range(len(rows))]
    trainer = make(
        model=str(saved(folder / "reference")),
        reward_funcs=lambda completions, **_: scores,
        args=config(**arguments),
        train_dataset=Dataset.from_list(asked[::ANSWERS]),
        processing_class=tiny.tokenizer(),
    )
    trainer.model.load_state_dict(method.policy.state_dict())
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    answers = [list(answer) for _, answer in rows]
    trainer._tokenize_prompts = lambda prompts: ([list(prompt) for prompt, _ in rows], None, {})
    trainer._generate_single_turn = lambda *_: (answers, None) if kind == "GRPO" else answers
    return trainer, trainer._generate_and_score_completions(asked)


def theirs(trainer: Any, inputs: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """TRL's loss and gradient."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss), {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


def ours(method: Any, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    method.policy.zero_grad()
    figures = loop.accumulate(method, batch, 10**6)
    return figures["loss"], {name: p.grad for name, p in method.policy.named_parameters() if p.grad is not None}


def move(method: Any, trainer: Any, size: float = 0.03) -> None:
    """One step of both policies, the same."""
    moved = tiny.perturbed(method.policy, seed=4, size=size).state_dict()
    method.policy.load_state_dict(moved)
    trainer.model.load_state_dict(moved)


def column(batch: Batch, name: str) -> Tensor:
    return stack([item.table for item in batch.items])[name]


def same(found: tuple[float, dict[str, Tensor]], wanted: tuple[float, dict[str, Tensor]], factor: float = 1.0) -> None:
    assert found[0] * factor == pytest.approx(wanted[0], abs=CLOSE)
    same_gradient(found[1], wanted[1], factor)


def same_gradient(found: dict[str, Tensor], wanted: dict[str, Tensor], factor: float = 1.0) -> None:
    assert found.keys() == wanted.keys() and len(found) > 10
    assert max(float(g.abs().max()) for g in wanted.values()) > 0.01
    for name in wanted:
        torch.testing.assert_close(found[name] * factor, wanted[name], rtol=CLOSE, atol=CLOSE, msg=name)


def sampled(build: Callable[..., Any], longest: int = LONGEST, **changes: Any) -> tuple[Any, Batch]:
    """One iteration of a policy that has moved from its reference, so that KL is charged."""
    if changes.get("truncated") != "mask":
        changes["no_eos_penalty"] = 0.0
    method = build(
        policy=tiny.perturbed(tiny.policy(), seed=1, size=0.05),
        reference=tiny.policy(),
        minibatches=1,
        prompts=6,
        asked=6,
        answers=ANSWERS,
        sampling={"max_tokens": longest, "temperature": 0.9},
        **changes,
    )
    return method, next(iter(method.batches(1)))


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the defaults of both": ({}, {}),
    "loss_type grpo": ({"aggregation": "sequence"}, {"loss_type": "grpo"}),
    "loss_type bnpo": ({"aggregation": "token"}, {"loss_type": "bnpo"}),
    "loss_type dr_grpo": ({"aggregation": "constant"}, {"loss_type": "dr_grpo"}),
    "clip-higher": ({"clip_low": 0.05, "clip_high": 0.28}, {"epsilon": 0.05, "epsilon_high": 0.28}),
    "k3 in the loss": ({"kl": {"coef": 0.3}}, {"beta": 0.3, "use_bias_correction_kl": False}),
    "k3 in the loss, by answers": (
        {"kl": {"coef": 0.3}, "aggregation": "sequence"},
        {"beta": 0.3, "use_bias_correction_kl": False, "loss_type": "grpo"},
    ),
    "scale_rewards batch": ({"scale": "batch"}, {"scale_rewards": "batch"}),
    "scale_rewards none": ({"scale": "none"}, {"scale_rewards": "none"}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_grpo(name: str, tmp_path: Path) -> None:
    """On-policy, and then off it, where TRL takes the log-probs of the policy that sampled from us."""
    changes, settings = SETTINGS[name]
    method, batch = sampled(made.grpo, **changes)
    lengths = {len(answer) for item in batch.items for answer in item.group.answers}
    assert len(lengths) > 3, "the batch is ragged"
    trainer, inputs = trainer_of("GRPO", tmp_path, method, batch, **settings)
    torch.testing.assert_close(column(batch, "advantage")[:, 0].float(), inputs["advantages"], rtol=CLOSE, atol=CLOSE)
    same(ours(method, batch), theirs(trainer, inputs))
    move(method, trainer)
    inputs["old_per_token_logps"] = column(batch, "old_logp")
    figures = loop.accumulate(method, batch, 10**6)
    assert figures["policy/clipfrac_avg"] > 0.02
    same(ours(method, batch), theirs(trainer, inputs))


def test_grpo_without_truncated_answers(tmp_path: Path) -> None:
    """TRL leaves them out of the loss alone, we out of the comparison too: with our advantages, the same loss."""
    method, batch = sampled(made.grpo, truncated="mask")
    settings = {"mask_truncated_completions": True}
    trainer, inputs = trainer_of("GRPO", tmp_path, method, batch, **settings)
    kept = column(batch, "mask").any(1)
    assert 3 < int(kept.sum()) < len(kept)
    assert inputs["completion_mask"].bool().any(1).tolist() == kept.tolist()
    inputs["advantages"] = column(batch, "advantage")[:, 0]
    same(ours(method, batch), theirs(trainer, inputs))


def test_trls_own_kl_has_the_gradient_of_k2(tmp_path: Path) -> None:
    """By default TRL multiplies k3 by the ratio: on-policy another value, and the gradient that k2 has."""
    method, batch = sampled(made.grpo, kl={"coef": 0.3, "estimator": "k2"})
    trainer, inputs = trainer_of("GRPO", tmp_path, method, batch, beta=0.3)
    (loss, gradient), (other, wanted) = ours(method, batch), theirs(trainer, inputs)
    assert abs(loss - other) > 1e-3
    same_gradient(gradient, wanted)


@pytest.mark.parametrize("whiten", [False, True])
def test_rloo_on_policy(whiten: bool, tmp_path: Path) -> None:
    """Advantages, and the gradient at ratio 1: TRL sums an answer's tokens, we divide by the most there may be.

    Whitened, TRL divides by n - 1 and adds 1e-4 to the deviation, we divide by n: another length, the same direction.
    """
    method, batch = sampled(made.rloo, whiten=whiten)
    trainer, inputs = trainer_of("RLOO", tmp_path, method, batch, normalize_advantages=whiten)
    found, wanted = column(batch, "advantage")[:, 0], inputs["advantages"].double()
    factor = float(wanted[0] / found[0]) if whiten else 1.0
    n = len(found)
    assert factor == pytest.approx(((n - 1) / n) ** 0.5 if whiten else 1.0, abs=1e-3)
    torch.testing.assert_close(found * factor, wanted, rtol=CLOSE, atol=CLOSE)
    _, gradient = ours(method, batch)
    same_gradient(gradient, theirs(trainer, inputs)[1], LONGEST * factor)


def test_rloo_off_policy_of_one_token(tmp_path: Path) -> None:
    """TRL's ratio is the whole answer's, ours each token's: of one token both are the same, clip and all."""
    method, batch = sampled(made.rloo, longest=1)
    trainer, inputs = trainer_of("RLOO", tmp_path, method, batch)
    move(method, trainer, size=0.1)
    assert loop.accumulate(method, batch, 10**6)["policy/clipfrac_avg"] > 0.1
    same(ours(method, batch), theirs(trainer, inputs))
