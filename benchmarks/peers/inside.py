"""A trainer's own `train()`, stopped after each step until the next is asked for.

So a step is timed as a user of the trainer would get it: fetching and collating the batch, forward, backward,
clipping, optimiser, schedule and callbacks; logging and saving are switched off. `train()` runs in a thread of
its own, which waits for a lock and takes no time in between. Works for every trainer that calls
`on_train_begin` and `on_step_end` of its callbacks.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class _Gate(TrainerCallback):  # type: ignore[misc]
    """Stops the training thread before the first step and after every step."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.done: queue.Queue[float | BaseException] = queue.Queue()
        self.began = 0.0

    def _wait(self) -> None:
        self.go.acquire()
        self.began = time.perf_counter()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Before the first step."""
        self._wait()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """A step has ended: tell its seconds, wait for the next request."""
        self.done.put(time.perf_counter() - self.began)
        self._wait()


class Inside:
    """A trainer driven step by step.

    `first_loss` computes the loss of the first batch before anything is trained. `training_step` is watched for
    the loss of each step: what it returns, summed over the micro-batches.
    """

    def __init__(self, trainer: Any, first_loss: Callable[[], dict[str, float]]) -> None:
        self.trainer, self.loss = trainer, first_loss
        self.gate = _Gate()
        self.losses: list[Any] = []
        self.thread: threading.Thread | None = None
        trainer.add_callback(self.gate)
        if hasattr(trainer, "training_step"):
            self._watch()

    def _watch(self) -> None:
        inner: Callable[..., Any] = self.trainer.training_step

        def training_step(*args: Any, **kwargs: Any) -> Any:
            loss = inner(*args, **kwargs)
            self.losses.append(loss)
            return loss

        self.trainer.training_step = training_step

    def step(self) -> dict[str, float]:
        """One step of `train()`: `seconds` and `loss`."""
        self.losses.clear()
        if self.thread is None:
            self.thread = threading.Thread(target=self._train, daemon=True)
            self.thread.start()
        self.gate.go.release()
        done = self.gate.done.get()
        if isinstance(done, BaseException):
            raise done
        return {"seconds": done, **({"loss": float(sum(self.losses))} if self.losses else {})}

    def _train(self) -> None:
        try:
            self.trainer.train()
            raise RuntimeError("train() ended by itself")
        except BaseException as error:
            traceback.print_exc()
            self.gate.done.put(error)


def loss_and_norm(trainer: Any, accumulation: int) -> dict[str, float]:
    """Loss and gradient norm of the first batch, by the trainer's own `training_step`, nothing updated."""
    import torch

    model = trainer.model
    trainer.current_gradient_accumulation_steps = accumulation
    batches, items = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), accumulation, model.device)
    total = sum(float(trainer.training_step(model, batch, items)) for batch in batches)
    norm = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    model.zero_grad(set_to_none=True)
    return {"loss": total, "grad_norm": norm}
