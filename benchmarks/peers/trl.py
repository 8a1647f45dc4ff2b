"""TRL's own trainers on the row's data: SFTTrainer, RewardTrainer, DPOTrainer.

Settings other than TRL's defaults, each for speed or for equal work on a CPU: fp32 instead of bf16, no gradient
checkpointing, no truncation, constant learning rate, no logging or saving. TRL's fused LM head, which makes no
[batch, time, vocabulary] tensor, is on: it is its default. Data come tokenised; DPOTrainer takes only text, so it
gets text that its tokenizer turns into exactly these ids (the losses show it).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.peers.inside import Inside, loss_and_norm
from benchmarks.workload import Task, text


def build(task: Task) -> Inside:
    """The trainer of a row."""
    trainer = TRAINERS[task.row](task)
    return Inside(trainer, partial(loss_and_norm, trainer, trainer.args.gradient_accumulation_steps))


def arguments(task: Task, rows: int, **more: Any) -> dict[str, Any]:
    """Settings that every trainer takes."""
    given, micro = task.settings, min(task.variant["micro-batch"], rows)
    if rows % micro:
        raise ValueError(f"{rows} rows do not divide into micro-batches of {micro}")
    return {
        "output_dir": str(Path(task.folder) / "trl"),
        "use_cpu": task.device == "cpu",
        "bf16": task.dtype == "bfloat16",
        "gradient_checkpointing": False,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // micro,
        "max_steps": 10**6,
        "learning_rate": given["lr"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "adam_beta1": given["betas"][0],
        "adam_beta2": given["betas"][1],
        "adam_epsilon": given["eps"],
        "max_grad_norm": given["max_grad_norm"],
        "max_length": None,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": task.device == "cuda",
        **more,
    }


def _load(task: Task, kind: Any, name: str) -> Any:
    # Master weights stay in fp32; on a GPU the trainer autocasts to bf16, as TRL's examples do.
    return kind.from_pretrained(task.model(name), dtype=torch.float32)


def _sft(task: Task) -> Any:
    rows = [
        {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
        for prompt, answers in task.groups
        for answer in answers
    ]
    more: dict[str, Any] = {"padding_free": task.variant.get("padding_free", False)}
    if task.variant.get("by_length"):
        more["train_sampling_strategy"] = "group_by_length"
    return trl.SFTTrainer(
        model=_load(task, AutoModelForCausalLM, "policy"),
        args=trl.SFTConfig(**arguments(task, len(rows), **more)),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.model("policy")),
    )


def _reward(task: Task) -> Any:
    rows = [
        {"chosen_ids": prompt + w, "rejected_ids": prompt + l}
        for prompt, answers in task.groups
        for w, l in combinations(answers, 2)
    ]
    return trl.RewardTrainer(
        model=_load(task, AutoModelForSequenceClassification, "reward"),
        args=trl.RewardConfig(**arguments(task, len(rows))),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.model("reward")),
    )


def _dpo(task: Task) -> Any:
    rows = [
        {"prompt": text(prompt), "chosen": " " + text(answers[0]), "rejected": " " + text(answers[1])}
        for prompt, answers in task.groups
    ]
    once = task.variant.get("precompute", task.settings["reference"] == "once")
    more = {"beta": task.settings["beta"], "precompute_ref_log_probs": once}
    trainer = trl.DPOTrainer(
        model=_load(task, AutoModelForCausalLM, "policy"),
        ref_model=_load(task, AutoModelForCausalLM, "reference"),
        args=trl.DPOConfig(**arguments(task, len(rows), **more)),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.model("policy")),
    )
    if once:  # TRL keeps it although it has been asked; a user who is short of memory would drop it, too
        trainer.ref_model = None
    return trainer


TRAINERS: dict[str, Callable[[Task], Any]] = {
    "sft": _sft,
    "reward": _reward,
    "rankings": _reward,
    "dpo": _dpo,
    "dpo-cached": _dpo,
    "memory": _dpo,
}
