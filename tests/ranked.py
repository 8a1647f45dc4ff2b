"""Jobs of several ranks in forked children; started by test_ranks.py.

Forks come from this small process because a test runner has threads, and because a fork need not import torch
again. What torchrun does for a job is done here: a process that holds the store, and the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.utils.tensorboard  # before the forks: each would import it anew

import tiny
import tiny_adapters
import tiny_methods as made
import toy_run
from assent.cli import main as cli
from assent.config.blocks import Sampling
from assent.core.errors import AssentError, DataError
from assent.engine import ranks
from assent.engine.generate import LocalGenerator
from assent.methods.sft import Sft
from assent.rewards.function import FunctionReward
from assent.rewards.total import TotalReward
from assent.train import loop
from assent.train.optimiser import adamw

LOUD = {"eps": 1e-4}
"""Adam divides by the root of a gradient's square: a larger epsilon keeps rounding errors of 1e-17 that small."""
METHODS: dict[str, Callable[[], Any]] = {
    "sft": lambda: made.sft(**LOUD),
    "sft of one row": lambda: made.sft(batch=1, **LOUD),
    "reward": lambda: made.reward(**LOUD),
    "ppo": lambda: made.ppo(
        optimiser=LOUD, answers=2, reward_scale="running", kl={"control": "adaptive", "target": 0.01, "horizon": 20}
    ),
    "ppo-shared": lambda: made.ppo(optimiser=LOUD, value={"trunk": "shared", "warmup": 1}, early_stop_kl=1e-4),
    "ppo-adapter": lambda: tiny_adapters.ppo(optimiser=LOUD, answers=2),
    # Against the policy itself every lead is 0 at the start, and rounding would decide who is ahead.
    "dpo": lambda: made.dpo(reference=tiny.policy(seed=9), **LOUD),
    "dpo-kto": lambda: made.dpo(reference=tiny.policy(seed=9), told={"loss": "kto"}, **LOUD),
    "online-dpo": lambda: made.online_dpo(optimiser=LOUD, loss="simpo"),
    "grpo": lambda: made.grpo(optimiser=LOUD, kl={"coef": 0.1}),
    "grpo-resample": lambda: made.grpo(optimiser=LOUD, rule=made.mostly_even, truncated="mask", resample=2),
    "rloo": lambda: made.rloo(optimiser=LOUD),
}


# What torchrun does


def job(work: Callable[[], object], n: int) -> list[int]:
    """Exit codes of `n` ranks that do `work`; minus the signal that ended one. All have ended when it returns."""
    port, agent = _agent()
    children = [_child(work, r, n, port) for r in range(n)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)
    return codes


def _agent() -> tuple[int, int]:
    """Port of a store, and the process that holds it: as with torchrun it outlives every rank."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(write, str(store.port).encode())
        os.close(write)
        while True:
            signal.pause()
    os.close(write)
    port = int(os.read(read, 16))
    os.close(read)
    return port, pid


def _child(work: Callable[[], object], rank: int, n: int, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    code = 1
    try:
        ranks.start()
        work()
        code = 0
    except AssentError as error:
        cli._say(str(error))
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def say(text: object) -> None:
    """Print for the test, whichever rank this is."""
    print(text, flush=True)


# The same numbers as one process


def follow(name: str, steps: int = 3) -> dict[str, Any]:
    """Everything that a few steps of a method leave behind."""
    method = METHODS[name]()
    optimisers = {key: adamw(module, method.optimisers[key]) for key, module in method.modules.items()}
    updates, figures = [], []
    for step in range(steps):
        for batch in method.batches(step):
            batch.result = loop.update(method, optimisers, batch, 40)
            gradient = {
                f"{m}/{k}": p.grad for m, module in method.modules.items() for k, p in module.named_parameters()
            }
            # What a batch does not teach is not summed: its gradient is nobody's.
            learns = batch.modules or frozenset(method.modules)
            kept = {k: g.clone() for k, g in gradient.items() if g is not None and k.split("/")[0] in learns}
            updates.append((batch.result, kept))
        figures.append(method.observe(step))
    weights = {f"{m}/{k}": p.detach() for m, module in method.modules.items() for k, p in module.named_parameters()}
    return {
        "updates": updates,
        "figures": figures,
        "weights": weights,
        "state": method.state(),
        "samples": method.samples(),
    }


def numbers(root: Path) -> None:
    """Every method in one process and on two ranks; one of them on three, its gradients summed in many buckets."""
    for name in METHODS:
        torch.save(follow(name), root / f"{name}.1.0")
        for n in (2, 3) if name == "sft" else (2,):
            ranks.BUCKET = 2**25 if n == 2 else 2**13
            codes = job(lambda name=name, n=n: torch.save(follow(name), root / f"{name}.{n}.{ranks.rank()}"), n)
            assert codes == [0] * n, (name, codes)
    roles(root)


def count_calls(completions: Sequence[str], log_metric: Callable[[str, float], None], **_: Any) -> list[float]:
    """A reward whose every call leaves a trace."""
    say(f"called on rank {ranks.rank()}")
    log_metric("seen", float(len(completions)))
    return [float(len(text)) for text in completions]


def roles(root: Path) -> None:
    """Who calls a user's function, who writes, who samples what."""
    say("== roles")

    def work() -> None:
        prompts = tiny.prompts(3)
        policy = tiny.policy(dtype=torch.float64)
        for asked in (prompts, prompts[:1]):  # the second time one rank has nothing to sample
            sampled = LocalGenerator(policy, tiny.tokenizer(), "tiny", Sampling(max_tokens=6)).draw(asked, 2, 5)
            torch.save(sampled, root / f"sampled.{len(asked)}.{ranks.size()}.{ranks.rank()}")
        total = TotalReward([("count", FunctionReward("ranked:count_calls", 60.0), 1.0)])
        torch.save((total.score(sampled.groups), total.figures()), root / f"scores.{ranks.size()}.{ranks.rank()}")
        loop.run(made.sft(), made.limits(), root / f"run.{ranks.size()}", "sft")

    work()
    assert job(work, 2) == [0, 0]


# Ends


def trained(folder: Path, observe: Callable[[int], None] = lambda step: None) -> None:
    """Ten steps of SFT with something that happens in them; the weights that come out."""

    class Eventful(Sft):
        def observe(self, step: int) -> dict[str, float]:
            observe(step)
            return super().observe(step)

    method = made.sft()
    method.__class__ = Eventful
    loop.run(method, made.limits(checkpoint_every=3), folder, "sft")
    torch.save(made.weights(method.policy), folder / f"weights.{ranks.rank()}")


def on(rank: int, step: int, do: Callable[[], object]) -> Callable[[int], None]:
    """An observer that does something on one rank, in one step."""
    return lambda now: do() if (ranks.rank(), now) == (rank, step) else None


def ends(root: Path) -> None:
    """Ways in which a job ends early; each under its own heading, for the test to read."""
    assert job(lambda: trained(root / "straight"), 2) == [0, 0]
    for dead in (0, 1):
        say(f"== rank {dead} is killed")
        folder = root / f"killed{dead}"
        began = time.monotonic()
        codes = job(lambda f=folder, d=dead: trained(f, on(d, 4, lambda: os.kill(os.getpid(), signal.SIGKILL))), 2)
        assert codes[dead] == -signal.SIGKILL and codes[1 - dead] == 2, codes
        say(f"survived by {time.monotonic() - began:.1f} s")
        assert job(lambda f=folder: trained(f), 2) == [0, 0]
    for number in (signal.SIGINT, signal.SIGTERM):
        say(f"== one rank hears {number.name}")
        folder = root / number.name
        assert job(lambda f=folder, s=number: trained(f, on(1, 4, lambda: signal.raise_signal(s))), 2) == [130, 130]
        trained(folder)  # one process goes on where two have stopped

    say("== a loss that is no number")

    def poison(step: int) -> None:
        if ranks.rank() == 1 and step == 4:
            Sft.loss = lambda self, items, _loss=Sft.loss: _loss(self, items)._replace(total=torch.tensor(float("nan")))

    assert job(lambda: trained(root / "nan", poison), 2) == [2, 2]

    say("== weights that drift apart")
    grown: list[Any] = []

    def drift(step: int) -> None:
        if ranks.rank() == 1 and step == 4:
            with torch.no_grad():
                grown[0].mul_(1 + 1e-9)

    def drifting() -> None:
        method = made.sft()
        grown.append(next(iter(method.policy.parameters())))
        loop.run(method, made.limits(checkpoint_every=3), root / "drift", "sft", [lambda step: drift(step) or {}])

    assert job(drifting, 2) == [2, 2]

    say("== an error on the rank that writes")

    def full() -> None:
        raise DataError("the disk is full", where="here", fix="free some space")

    assert job(lambda: ranks.first(full), 3) == [2, 2, 2]


# The command


def command(root: Path) -> None:
    """The toy recipe, whole, on two ranks; then again, and wrong."""
    recipe = toy_run.write_recipe(root / "toy.yaml")

    def assent(*arguments: object) -> Callable[[], None]:
        def work() -> None:
            code = toy_run.assent(*arguments)
            sys.stdout.flush()
            os._exit(code)

        return work

    assert job(assent("run", recipe, "--out", root / "run"), 2) == [0, 0]
    say("== again")
    assert job(assent("run", recipe, "--out", root / "run"), 2) == [0, 0]
    say("== a misspelt key")
    assert job(assent("run", recipe, "sft.epocs=3", "--out", root / "other"), 2) == [2, 2]
    say("== a changed recipe")
    assert job(assent("run", recipe, "sft.epochs=3", "--out", root / "run"), 2) == [2, 2]


def announced(*arguments: str) -> None:
    """`assent ARGUMENTS` that says when it has begun to train."""

    def observe(self: Sft, step: int, before: Any = Sft.observe) -> dict[str, float]:
        if (ranks.rank(), step) == (0, 4):
            print("training", file=sys.stderr, flush=True)
        return before(self, step)

    Sft.observe = observe
    sys.argv = ["assent", *arguments]
    cli.main()


if __name__ == "__main__":
    if sys.argv[1] == "assent":
        announced(*sys.argv[2:])
    torch.set_num_threads(1)
    {"numbers": numbers, "ends": ends, "command": command}[sys.argv[1]](Path(sys.argv[2]))
    say("done")
