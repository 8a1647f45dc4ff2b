"""Our side of the training rows: Assent's methods through its one loop; no second copy of a loss here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch

from assent.config.blocks import Limits, Optimiser
from assent.config.preferences import PreferenceLoss
from assent.data.collate import TokenGroup
from assent.methods.dpo import Dpo, refer
from assent.methods.pairs import Pair, RankedItem
from assent.methods.reward import Reward
from assent.methods.sft import Sft
from assent.models.load import load_policy, load_reward_model
from assent.train.loop import accumulate, update
from assent.train.method import Batch, Method
from assent.train.optimiser import adamw
from benchmarks.workload import Task

ENDLESS = 10**9
"""Steps of a run that the parent ends."""


class Training:
    """A method with its optimisers; each step is one update on the batch the method gives.

    `before` is further work of each step, where the row asks for it.
    """

    def __init__(self, method: Method, token_budget: int, before: Callable[[], None] | None = None) -> None:
        self.method, self.token_budget, self.before = method, token_budget, before
        self.optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
        self.steps = 0

    def loss(self) -> dict[str, float]:
        """Loss and gradient norm of the first batch."""
        figures = accumulate(self.method, self._batch(), self.token_budget)
        gradients = [p.grad for m in self.method.modules.values() for p in m.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        return {"loss": figures["loss"], "grad_norm": norm}

    def step(self) -> dict[str, float]:
        """One update."""
        if self.before:
            self.before()
        result = update(self.method, self.optimisers, self._batch(), self.token_budget)
        self.steps += 1
        return {"loss": result["loss"]}

    def _batch(self) -> Batch:
        return next(iter(self.method.batches(self.steps)))


def build(task: Task) -> Training:
    """The method of a row."""
    return MAKERS[task.row](task, task.variant.get("token_budget", Limits().token_budget))


def token_groups(task: Task) -> list[TokenGroup]:
    """The row's data as the engine takes it."""
    return [
        TokenGroup(
            f"g{i}", tuple(prompt), tuple(tuple(answer) for answer in answers),
            tuple(f"g{i}a{k}" for k in range(len(answers))),
        )
        for i, (prompt, answers) in enumerate(task.groups)
    ]  # fmt: skip


def optimiser(task: Task) -> Optimiser:
    """The row's AdamW."""
    given = task.settings
    return Optimiser(
        lr=given["lr"],
        schedule="constant",
        warmup=0.0,
        beta2=given["betas"][1],
        eps=given["eps"],
        max_grad_norm=given["max_grad_norm"],
    )


def _policy(task: Task, name: str = "policy") -> Any:
    return load_policy(task.model(name))


def _sft(task: Task, token_budget: int) -> Training:
    groups = token_groups(task)
    method = Sft(_policy(task), groups, optimiser(task), batch=len(groups), steps=ENDLESS, seed=None)
    return Training(method, token_budget)


def _ranked(task: Task) -> list[RankedItem]:
    """Answers are ranked in the order given; each pair weighs 1, so that the loss has the pairs' equal weights."""
    return [
        RankedItem(group, tuple(Pair(w, l, 1.0) for w, l in combinations(range(len(group.answers)), 2)))
        for group in token_groups(task)
    ]


def _reward(task: Task, token_budget: int) -> Training:
    items = _ranked(task)
    method = Reward(
        load_reward_model(task.model("reward")), items, optimiser(task), centre=0.0, batch=len(items),
        steps=ENDLESS, seed=0,
    )  # fmt: skip
    return Training(method, token_budget)


def _dpo(task: Task, token_budget: int) -> Training:
    """Assent asks the reference once and drops it; a row that compares with one asked in every step asks again."""
    items, reference = _ranked(task), _policy(task, "reference")
    loss = PreferenceLoss(beta=task.settings["beta"])
    method = Dpo(
        _policy(task), reference, items, optimiser(task), settings=loss, batch=len(items),
        steps=ENDLESS, seed=0, token_budget=token_budget,
    )  # fmt: skip
    if task.settings["reference"] == "once":
        return Training(method, token_budget)

    def ask_again() -> None:
        method.items = refer(reference, items, loss, token_budget)

    return Training(method, token_budget, ask_again)


MAKERS: dict[str, Callable[[Task, int], Training]] = {
    "sft": _sft,
    "scaling": _sft,
    "reward": _reward,
    "rankings": _reward,
    "dpo": _dpo,
    "dpo-cached": _dpo,
    "memory": _dpo,
}
