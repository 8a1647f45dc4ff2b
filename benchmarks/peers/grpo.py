"""TRL's GRPOTrainer, whole steps: generation, reward function, advantages, loss, backward, clip, AdamW.

Settings other than TRL's defaults, each for speed or for equal work on a CPU: fp32 instead of bf16, no gradient
checkpointing, temperature 1 with nothing cut off, answers of forced length, constant learning rate, no logging or
saving. As by default there is no KL term (so no reference), the loss is averaged over tokens (`dapo`), and old
log-probabilities are not computed, because the ratio is 1 by construction where answers are used once.
"""

from __future__ import annotations

from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.inside import Inside, loss_and_norm
from benchmarks.peers.trl import arguments
from benchmarks.rollouts import endless, even_words, given
from benchmarks.workload import Ids, Task, text


def build(task: Task) -> Inside:
    """The trainer of the row."""
    rows = task.work["groups"] * task.work["answers"]
    taken = arguments(task, rows)
    del taken["max_length"]
    model = AutoModelForCausalLM.from_pretrained(task.model("policy"), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(task.model("policy"))
    endless(model, tokenizer)
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=even_words,
        args=trl.GRPOConfig(
            **taken,
            num_generations=task.work["answers"],
            max_completion_length=task.work["answer"][1],
            steps_per_generation=taken["gradient_accumulation_steps"],
            temperature=1.0,
            beta=0.0,
            cache_implementation=task.variant.get("cache"),
        ),
        train_dataset=Dataset.from_list([{"prompt": text(group.prompt)} for group in task.groups]),
        processing_class=tokenizer,
    )
    return Inside(trainer, lambda: _first(trainer, given(task.groups, ragged=True)))


def _first(trainer: Any, answers: list[Ids]) -> dict[str, float]:
    """Loss and gradient norm of the first update for given answers, handed over by TRL's own `rollout_func`."""
    scores: list[float] = []

    def rollout(prompts: list[str], _: Any) -> dict[str, Any]:
        ids = _by_prompt(answers, prompts)
        scores.extend(even_words([text(answer) for _, answer in ids]))
        return {"prompt_ids": [p for p, _ in ids], "completion_ids": [a for _, a in ids], "logprobs": None}

    trainer.rollout_func = rollout
    found = loss_and_norm(trainer, trainer.args.gradient_accumulation_steps)
    trainer.rollout_func, trainer._step, trainer._buffered_inputs = None, 0, None
    return {**found, "score": sum(scores) / len(scores)}


def _by_prompt(answers: list[Ids], prompts: list[str]) -> list[tuple[list[int], list[int]]]:
    """The next answer of each prompt's."""
    left = {text(group.prompt): (group.prompt, iter(group.answers)) for group in answers}
    return [(ids, next(rest)) for ids, rest in (left[prompt] for prompt in prompts)]
