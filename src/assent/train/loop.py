"""THE training loop. Every method runs through it, unchanged.

One step: take the method's batches; cut each by the token budget; backpropagate the sum of each piece
divided by the weight of the whole batch, so that the gradient does not depend on the cut; clip each
module by itself; update; log; checkpoint.

Of several ranks each backpropagates its share of a batch; then gradients and figures are summed, once. From
there on all ranks do the same and hold the same weights; rank 0 alone writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from assent.config.blocks import Limits
from assent.core.console import log
from assent.core.errors import Interrupted, TrainingError
from assent.engine import ranks, room
from assent.engine.budget import own_pieces
from assent.models.load import checkpointed
from assent.ops.head import gradients_in_place
from assent.train import checkpoint
from assent.train.method import Batch, Item, Method
from assent.train.optimiser import adamw, rate
from assent.train.stop import watch
from assent.train.tracking import Nowhere, Tracker

Probe = Callable[[int], dict[str, float]]
"""Called after a step; its figures are logged. Injected from outside, so that the loop knows no audit."""


Sums = dict[str, tuple[float, float]]
"""Figure -> (sum, count)."""


def run(method: Method, limits: Limits, folder: Path, name: str, probes: Sequence[Probe] = ()) -> None:
    """Train `method` from its last checkpoint, if any, to its last step.

    Raises TrainingError when a loss or gradient is not finite (the last checkpoint stays) or another rank has
    ended, Interrupted after a checkpoint when the user asked to stop.
    """
    optimisers = {key: adamw(module, method.optimisers[key]) for key, module in method.modules.items()}
    header = checkpoint.load(folder, method.modules, optimisers)
    start = header["step"] if header else 0
    if header:
        method.load_state(header["method"])
        log.print(f"  {name}: on from step {start} of {method.steps}")
    with Tracker(folder, start) if ranks.is_first() else Nowhere() as tracker, watch() as stop, _progress() as progress:
        bar = progress.add_task(name, total=method.steps, completed=start, note="")
        for step in range(start, method.steps):
            began = time.perf_counter()
            figures = _step(method, optimisers, limits, step)
            figures |= method.observe(step)
            last = step == method.steps - 1
            if step % limits.log_every == 0 or last:
                for probe in probes:
                    figures |= probe(step)
                figures["seconds"] = time.perf_counter() - began
                tracker.log(step, figures, method.samples())
            progress.update(bar, advance=1, note=_note(figures))
            asked = ranks.any_(stop.asked)
            if (step + 1) % limits.checkpoint_every == 0 or last or asked:
                tracker.checkpoint()
                _save(folder, step + 1, method, optimisers)
            if asked:
                ranks.wait()  # a rank that exits now would have torchrun end the one that writes
                raise Interrupted(
                    f"stopped after step {step + 1} of {method.steps}; a checkpoint is written",
                    where=name,
                    fix="run the same command again to go on from there",
                )
            if last:  # the method may have ended itself before its time
                break
    ranks.wait()  # what comes next may read what rank 0 has logged


def _save(folder: Path, finished: int, method: Method, optimisers: dict[str, torch.optim.AdamW]) -> None:
    """Write a checkpoint, unless the ranks have drifted apart: they would never meet again."""
    if ranks.size() > 1:
        parameters = [p.detach() for module in method.modules.values() for p in module.parameters()]
        own = math.fsum(float(p.sum(dtype=torch.float64)) for p in parameters)
        if len(set(ranks.gather([own]))) > 1:
            raise TrainingError(
                "the ranks no longer hold the same weights",
                where=f"step {finished}",
                fix="start them on machines of one kind, with the same packages; the last checkpoint is kept",
            )
    if ranks.is_first():
        checkpoint.save(folder, finished, method.modules, optimisers, method.state(), {})


def _step(method: Method, optimisers: dict[str, torch.optim.AdamW], limits: Limits, step: int) -> dict[str, float]:
    """All updates of one step; mean figures over them."""
    sums: dict[str, list[float]] = {}
    for key, optimiser in optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = rate(method.optimisers[key], step, method.steps)
    for batch in method.batches(step):
        with checkpointed(method.modules.values() if limits.activation_checkpointing else ()):
            batch.result = update(method, optimisers, batch, limits.token_budget)
        for name, value in batch.result.items():
            sums.setdefault(name, []).append(value)
    figures = {name: math.fsum(values) / len(values) for name, values in sums.items()}
    rates = {f"lr/{key}" if len(optimisers) > 1 else "lr": o.param_groups[0]["lr"] for key, o in optimisers.items()}
    return figures | rates


def update(
    method: Method, optimisers: dict[str, torch.optim.AdamW], batch: Batch, token_budget: int
) -> dict[str, float]:
    """One optimiser step on a batch, however many pieces it is cut into; its mean figures."""
    for optimiser in optimisers.values():
        optimiser.zero_grad(set_to_none=True)
    figures = accumulate(method, batch, token_budget)
    for key in sorted(batch.modules or optimisers):
        config = method.optimisers[key]
        norm = float(torch.nn.utils.clip_grad_norm_(method.modules[key].parameters(), config.max_grad_norm))
        if not math.isfinite(norm):
            raise _not_finite("gradient", batch.items)
        figures["grad_norm" if len(optimisers) == 1 else f"grad_norm/{key}"] = norm
        optimisers[key].step()
    return figures


def accumulate(method: Method, batch: Batch, token_budget: int) -> dict[str, float]:
    """Backpropagate a batch piece by piece, each rank its share; mean figures over the whole batch.

    Ranks may differ in their number of pieces, and one may have none: they meet after the last backward pass
    only, so nobody waits inside one. (Sharded weights, FSDP, are gathered in each forward pass and would need
    equal numbers; the plan is the same on every rank, so each can count the pieces of all.)
    """
    sums: Sums = {}
    for piece in own_pieces([item.group for item in batch.items], token_budget):
        items = [batch.items[i] for i in piece]
        tokens = sum(item.group.tokens for item in items)
        with room.during(f"a micro-batch of {tokens:,} tokens", tokens), gradients_in_place():
            objective = method.loss(items)
            if not bool(torch.isfinite(objective.total)):
                raise _not_finite("loss", items)
            (objective.total / batch.weight).backward()  # type: ignore[no-untyped-call]
        _add(sums, {"loss": (float(objective.total.detach()), objective.weight)})
        _add(sums, {name: (float(total), count) for name, (total, count) in objective.metrics.items()})
    whole: Sums = {}
    for part in ranks.gather([sums]):
        _add(whole, part)
    total, weight = whole.get("loss", (0.0, 0.0))
    if not math.isclose(weight, batch.weight, rel_tol=1e-6):
        raise TrainingError(
            f"pieces weigh {weight}, but the batch weighs {batch.weight}",
            fix="this is a defect in the method; report it",
        )
    _sum_gradients(method.modules[key] for key in sorted(batch.modules or method.modules))
    means = {name: total / count for name, (total, count) in whole.items() if count}
    return means | {"loss": total / batch.weight}


def _add(sums: Sums, more: Sums) -> None:
    for name, (total, count) in more.items():
        before = sums.get(name, (0.0, 0.0))
        sums[name] = (before[0] + total, before[1] + count)


def _sum_gradients(modules: Iterable[nn.Module]) -> None:
    """Turn every rank's gradient into the sum over ranks.

    A parameter that one rank has not used counts as zero there; one that no rank has used keeps no gradient, as
    in one process (zeros would let AdamW decay it).
    """
    if ranks.size() == 1:
        return
    trained = list(dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad))
    used = [any(flags) for flags in zip(*ranks.gather([[p.grad is not None for p in trained]]), strict=True)]
    summed = [p for p, somewhere in zip(trained, used, strict=True) if somewhere]
    for parameter in summed:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    ranks.sum_([p.grad for p in summed if p.grad is not None])


def _not_finite(what: str, items: Sequence[Item]) -> TrainingError:
    """Names the batch: the first few groups in it."""
    names = ", ".join(item.group.group_id for item in items[:4])
    return TrainingError(
        f"the {what} is not a finite number; the batch holds groups {names}{' ...' if len(items) > 4 else ''}",
        fix="lower optimiser.lr, look at these rows; the last checkpoint is kept and a second run goes on from it",
    )


def _note(figures: dict[str, float]) -> str:
    """The one figure worth watching in the progress line."""
    for name in ("objective/rlhf_reward", "accuracy", "loss"):
        if name in figures:
            return f"{name.split('/')[-1]} {figures[name]:.3f}"
    return ""


def _progress() -> Progress:
    columns: list[Any] = [
        TextColumn("  {task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    ]
    return Progress(*columns, console=log, transient=False, disable=log.quiet)
