"""The loop: which figures it logs, how it clips, how it stops, and that it goes on where it stopped."""

import json
import math
import signal
from pathlib import Path

import pytest
import torch

import tiny_methods as made
from assent.core.errors import Interrupted, TrainingError
from assent.train import checkpoint, loop
from assent.train.method import Batch
from assent.train.optimiser import adamw
from assent.train.tracking import read_metrics

WALL_CLOCK = ("seconds",)


def weights(method) -> list[torch.Tensor]:
    return [weight for _, module in sorted(method.modules.items()) for weight in made.weights(module)]


def figures(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in read_metrics(folder)]


def test_the_schedule_and_the_figures_reach_the_log(tmp_path: Path) -> None:
    method = made.sft(steps=5, schedule="linear", warmup=0.4)
    loop.run(method, made.limits(), tmp_path, "sft")
    rows = figures(tmp_path)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    floor, lr = 1e-3, 1e-2
    shapes = [1, floor + (1 - floor) * 2 / 3, floor + (1 - floor) / 3]
    assert [row["lr"] for row in rows] == pytest.approx([lr / 2, lr, *(lr * s for s in shapes)])
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [row["epoch"] for row in rows] == pytest.approx([8 * (s + 1) / 12 for s in range(5)])
    assert all(row["grad_norm"] > 0 for row in rows)


def test_lines_come_every_log_every_and_at_the_end(tmp_path: Path) -> None:
    seen = []
    probe = lambda step: seen.append(step) or {"probe": float(step)}  # noqa: E731
    loop.run(made.sft(steps=8), made.limits(log_every=3), tmp_path, "sft", [probe])
    assert [row["step"] for row in figures(tmp_path)] == [0, 3, 6, 7] == seen
    assert [row["probe"] for row in figures(tmp_path)] == [0, 3, 6, 7]


def test_gradients_are_clipped_module_by_module() -> None:
    """The critic's huge gradient neither shrinks the policy's nor passes by itself unclipped."""
    method = made.ppo(value={"lr": 1e-2}, optimiser={"lr": 1e-2, "max_grad_norm": 0.05})
    method.optimisers["value"] = method.optimisers["value"].model_copy(update={"max_grad_norm": 1e9})
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    batch = next(iter(method.batches(0)))
    loop.accumulate(method, batch, 10**6)
    raw = {name: norm(module) for name, module in method.modules.items()}
    result = loop.update(method, optimisers, batch, 10**6)
    for name in ("policy", "value"):
        assert result[f"grad_norm/{name}"] == pytest.approx(raw[name])  # logged before clipping
    assert raw["policy"] > 0.05
    assert norm(method.policy) == pytest.approx(0.05, rel=1e-4)
    assert norm(method.critic) == pytest.approx(raw["value"])


def norm(module) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None))


def test_only_the_named_modules_learn() -> None:
    method = made.ppo()
    optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
    batch = next(iter(method.batches(0)))
    before = [p.detach().clone() for p in method.policy.parameters()]
    loop.update(method, optimisers, Batch(batch.items, batch.weight, frozenset({"value"})), 10**6)
    assert made.equal(before, list(method.policy.parameters()))
    loop.update(method, optimisers, batch, 10**6)
    assert not made.equal(before, list(method.policy.parameters()))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_names_the_batch_and_keeps_the_checkpoint(tmp_path: Path, what: str) -> None:
    method = made.sft(steps=10)
    real, calls, good = method.loss, [], {}

    def loss(items):
        objective = real(items)
        calls.append([item.group.group_id for item in items])
        if len(calls) == 4:  # the last checkpoint was written after two steps
            good.update(dict(enumerate(weights(method))))
            bad = objective.total * math.nan if what == "loss" else objective.total * 1e308 * 1e10
            if what == "gradient":  # finite forwards, infinite backwards
                bad = objective.total + (next(method.policy.parameters()).sum() * 0).sqrt()
            return objective._replace(total=bad)
        return objective

    method.loss = loss
    with pytest.raises(TrainingError, match=f"the {what} is not a finite number") as caught:
        loop.run(method, made.limits(), tmp_path, "sft")
    assert any(group in str(caught.value) for group in calls[3])
    assert made.equal(weights(method), [good[i] for i in range(len(good))])  # the bad step changed nothing
    straight = made.sft(steps=10)
    loop.run(straight, made.limits(), tmp_path / "straight", "sft")
    method = made.sft(steps=10)
    loop.run(method, made.limits(), tmp_path, "sft")  # the checkpoint was good: on from step 2
    assert made.equal(weights(method), weights(straight))
    assert figures(tmp_path) == figures(tmp_path / "straight")


@pytest.mark.parametrize("sign, at", [(signal.SIGINT, 3), (signal.SIGTERM, 3), (signal.SIGINT, 10)])
def test_a_clean_stop_writes_a_checkpoint(tmp_path: Path, sign: signal.Signals, at: int) -> None:
    """Asked in the middle of step `at`: the step is finished, kept, and a second run ends as a straight one.

    Asked in the very last step it stops too: a pipeline must not go on to its next step.
    """
    before = signal.getsignal(sign)
    method, straight = made.reward(), made.reward()
    real, calls = method.loss, []

    def loss(items):
        calls.append(0)
        if len(calls) == at:
            signal.raise_signal(sign)
        return real(items)

    method.loss = loss
    with pytest.raises(Interrupted, match=f"after step {at} of 10") as caught:
        loop.run(method, made.limits(checkpoint_every=50), tmp_path, "reward")
    assert caught.value.exit_code == 130
    assert signal.getsignal(sign) is before
    again = made.reward()
    loop.run(again, made.limits(checkpoint_every=50), tmp_path, "reward")
    loop.run(straight, made.limits(), tmp_path / "straight", "reward")
    assert made.equal(weights(again), weights(straight))
    assert figures(tmp_path) == figures(tmp_path / "straight")


def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    method = made.sft()

    def loss(items):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    method.loss = loss
    with pytest.raises(KeyboardInterrupt):
        loop.run(method, made.limits(), tmp_path, "sft")


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    method = made.sft(steps=3)
    loop.run(method, made.limits(), tmp_path, "sft")
    before, log = weights(method), (tmp_path / "metrics.jsonl").read_bytes()
    again = made.sft(steps=3)
    again.loss = lambda items: pytest.fail("nothing is left to do")
    loop.run(again, made.limits(), tmp_path, "sft")
    assert made.equal(weights(again), before) and (tmp_path / "metrics.jsonl").read_bytes() == log


def test_the_checkpoint_says_how_far_it_is(tmp_path: Path) -> None:
    method = made.sft(steps=5)
    loop.run(method, made.limits(checkpoint_every=50), tmp_path, "sft")
    from safetensors import safe_open

    with safe_open(tmp_path / checkpoint.FILE, framework="pt") as file:
        assert json.loads(file.metadata()["assent"])["step"] == 5
