"""TRL 1.12's PPOTrainer, whole updates of its own `train()`.

Settings other than TRL's defaults, each for speed or for equal work on a CPU: fp32 instead of bf16, no gradient
checkpointing, one epoch, temperature 1, weight 1 on the value loss (the critic is a model of its own), constant
learning rate, no sample generations, no saving. It never clips gradients. Answers have the forced length, as
by default (no stop token). It sums up its figures in every update, whatever the logging strategy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental import ppo
from trl.experimental.ppo import ppo_trainer

from benchmarks.peers.inside import Inside
from benchmarks.rollouts import given
from benchmarks.workload import PAD, Ids, Task


def build(task: Task) -> Inside:
    """The trainer of the row."""
    return Inside(_trainer(task), lambda: _first(task))


def _trainer(task: Task, callbacks: list[TrainerCallback] | None = None) -> Any:
    rows, settings = task.work["groups"], task.settings
    micro = min(task.variant["micro-batch"], rows)
    arguments = ppo.PPOConfig(
        output_dir=str(Path(task.folder) / "trl"),
        use_cpu=task.device == "cpu",
        bf16=task.dtype == "bfloat16",
        gradient_checkpointing=False,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        num_mini_batches=1,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=min(task.variant["forward"], rows),
        total_episodes=rows * 10**6,
        response_length=task.work["answer"][1],
        temperature=1.0,
        kl_coef=settings["kl_coef"],
        vf_coef=1.0,
        learning_rate=settings["lr"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        adam_beta1=settings["betas"][0],
        adam_beta2=settings["betas"][1],
        adam_epsilon=settings["eps"],
        num_sample_generations=0,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = ppo.PPOTrainer(
        args=arguments,
        processing_class=AutoTokenizer.from_pretrained(task.model("policy")),
        model=_load(task, AutoModelForCausalLM, "policy"),
        ref_model=_load(task, AutoModelForCausalLM, "policy"),
        reward_model=_load(task, AutoModelForSequenceClassification, "reward"),
        value_model=_load(task, AutoModelForSequenceClassification, "critic"),
        train_dataset=Dataset.from_list([{"input_ids": group.prompt} for group in task.groups]),
        callbacks=callbacks,
    )
    # All prompts make one batch, the last of its epoch, after which accelerate would step in every micro-batch.
    trainer.accelerator.gradient_state.plugin_kwargs["sync_with_dataloader"] = False
    return trainer


def _load(task: Task, kind: Any, name: str) -> Any:
    return kind.from_pretrained(task.model(name), dtype=torch.float32)


class _Ended(Exception):
    """The one update that was wanted is done."""


class _Once(TrainerCallback):
    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """End `train()`."""
        raise _Ended


def _first(task: Task) -> dict[str, float]:
    """Figures and gradient norms of one update on given answers, by another trainer, which is then dropped.

    TRL computes its loss within `train()`. So that runs as it is, except that answers are handed over instead of
    drawn and the optimiser tells gradient norms instead of stepping.
    """
    trainer = _trainer(task, [_Once()])
    norms: dict[str, float] = {}
    figures: dict[str, float] = {}

    def tell(*args: Any, **kwargs: Any) -> None:
        if trainer.accelerator.sync_gradients:
            for name, module in (("grad_norm", trainer.model.policy), ("value_grad_norm", trainer.model.value_model)):
                gradients = [p.grad for p in module.parameters() if p.grad is not None]
                norms[name] = float(torch.nn.utils.get_total_norm(gradients))

    trainer.optimizer.step, trainer.log = tell, figures.update
    draw = ppo_trainer.batch_generation
    ppo_trainer.batch_generation = _handing(given(task.groups))
    try:
        trainer.train()
    except _Ended:
        pass
    finally:
        ppo_trainer.batch_generation = draw
    found = {name: figures[f"loss/{name}_avg"] for name in ("policy", "value")}
    found |= {"score": figures["objective/scores"], "kl": figures["objective/kl"]}
    return {"loss": found[task.settings["agree"]], **found, **norms}


def _handing(answers: list[Ids]) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """In place of TRL's `batch_generation`: each prompt's given answer, and the logits of a forward pass over it."""
    by_prompt = {tuple(ids.prompt): ids.answers[0] for ids in answers}

    def batch_generation(
        model: Any, queries: torch.Tensor, batch: int, pad: int, config: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        taken = [by_prompt[tuple(token for token in row if token != PAD)] for row in queries.tolist()]
        whole = torch.cat([queries, torch.tensor(taken, device=queries.device)], 1)
        with torch.no_grad():
            logits = ppo_trainer.forward(model, whole, pad).logits
        return whole, logits[:, queries.shape[1] - 1 : -1]

    return batch_generation
