"""What a step is given: its settings, its folder, its parents' folders. Never another step's objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from assent.config.blocks import LAB, LAB_SUMS, StepConfig
from assent.core.console import log
from assent.core.errors import DataError
from assent.core.hashing import is_held_out
from assent.core.jsonl import read_records
from assent.core.records import Demonstration, Prompt
from assent.core.seeds import derive
from assent.rewards import rules

WEIGHTS, DATA = "weights", "data"
DEMONSTRATIONS = "demonstrations.jsonl"
"""The best answers that a `best_of` step leaves, in its data."""


@dataclass(frozen=True)
class Context:
    """One step at work."""

    name: str
    config: StepConfig
    seed: int
    folder: Path
    inputs: dict[str, list[Path]]
    held_out: float
    run_seed: int = 0
    """The recipe's seed, which the lab's world is built from whatever a step's own seed is."""

    @property
    def weights(self) -> Path:
        """Where this step leaves its model."""
        return self.folder / WEIGHTS

    @property
    def data(self) -> Path:
        """Where this step leaves its records."""
        return self.folder / DATA

    def seed_for(self, *names: object) -> int:
        """Seed of one purpose within the step."""
        return derive(self.seed, self.config.kind, *names)

    def model_input(self, name: str) -> Path | None:
        """Weights folder of the step given as input `name`."""
        found = self.inputs.get(name, [])
        if len(found) > 1:
            raise DataError(f"input `{name}` takes one step, not {len(found)}", where=self.name)
        return found[0] / WEIGHTS if found else None

    def is_held_out(self, prompt: Prompt) -> bool:
        """Whether a prompt is kept from training; the lab's own split for the lab's prompts."""
        return is_held_out(prompt.subject, self.held_out)


def lab_world(seed: int) -> Any:
    """The world of a run."""
    from assent.lab.world import build

    return build(seed)


def prompts(context: Context, data: str, *, held_out: bool, n: int | None, token_room: Any = None) -> list[Prompt]:
    """Prompts of one side of the split: `n` drawn by the lab's weights, or from a file.

    Raises DataError where there are none, or none that the step's rules could score.
    """
    found = _lab_mix(context, n, held_out) if data == LAB else _of_side(context, data, held_out)[:n]
    if missing := rules.check(getattr(context.config, "rewards", ()), found, data):
        log.print(f"  {missing} of {len(found)} prompts lack the tag of an `exact` reward: no score", style="yellow")
    return found


def _lab_mix(context: Context, n: int | None, held_out: bool) -> list[Prompt]:
    """Prompts about the lab's world; it has a split of its own."""
    from assent.lab import prompts as lab

    side: lab.Split = "held_out" if held_out else "train"
    return lab.mix(lab_world(context.run_seed), side, n or 800, context.seed_for("prompts", side))


def _of_side(context: Context, data: str, held_out: bool) -> list[Prompt]:
    """Prompts of a file, or the lab's sums, that are held out or are not."""
    if data == LAB_SUMS:
        from assent.lab.sums import prompts as read
    else:
        from assent.formats.read import read_prompts

        read = partial(read_prompts, data)
    found = [p for p in read() if context.is_held_out(p) == held_out]
    if not found:
        missing = "held-out" if held_out else "training"
        raise DataError(f"no {missing} prompts", where=data, fix="more prompts, or another `held_out` share")
    return found


def demonstrations(context: Context, data: str, n: int) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations to learn from, and held-out ones; a `best_of` step's, where one stands under `from`."""
    if best_of := context.inputs.get("demonstrations"):
        return _best(best_of[0]), []
    if data == LAB:
        from assent.lab.demonstrations import demonstrations as write

        return write(lab_world(context.run_seed), n, context.seed_for("demonstrations")), []
    if data == LAB_SUMS:
        from assent.lab import sums

        return sums.demonstrations(_of_side(context, data, False), n, context.seed_for("demonstrations")), []
    from assent.formats.read import read_demonstrations

    rows = read_demonstrations(data)
    train = [d for d in rows if not context.is_held_out(d.prompt)]
    if not train:
        raise DataError("no training demonstrations", where=data, fix="more rows, or a smaller `held_out` share")
    return train, [d for d in rows if context.is_held_out(d.prompt)]


def _best(step: Path) -> list[Demonstration]:
    """What a `best_of` step picked on training prompts."""
    found = read_records(step / DATA / DEMONSTRATIONS, Demonstration)
    if not found:
        raise DataError(
            "found no answer that is better than its siblings, so there is nothing to learn",
            where=step.name,
            fix="more `prompts` or `answers`, a higher temperature, or a reward that tells answers apart",
        )
    return found
