"""What an algorithm tells the loop: modules, batches, a loss. Nothing else differs between algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from assent.config.blocks import Optimiser
from assent.data.collate import TokenGroup

Peek = Callable[[], list[dict[str, Any]]]
"""A few readable answers of the model as it is now; given from outside to methods that sample nothing themselves."""


class Item(Protocol):
    """One group on its way through the engine, with whatever its method keeps beside it."""

    @property
    def group(self) -> TokenGroup: ...


class Objective(NamedTuple):
    """Loss of some items as a *sum*; the loop divides once, by the weight of the whole batch.

    `metrics` are name -> (sum, count): means that come out the same however the batch is cut.
    """

    total: Tensor
    weight: float
    metrics: dict[str, tuple[Tensor | float, float]]


@dataclass
class Batch:
    """Items of one optimiser step. `weight` is the global denominator, fixed before the batch is cut.

    `modules` names the modules that learn from it (None: all). After the update the loop leaves the
    batch's mean metrics in `result`, where the method that made the batch can read them.
    """

    items: Sequence[Item]
    weight: float
    modules: frozenset[str] | None = None
    result: dict[str, float] = field(default_factory=dict)


class Method(Protocol):
    """A training algorithm. `modules` are trained and saved by name, each with its optimiser.

    A method ends early by making the step at hand the last of its `steps`, which its state must then keep.
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, Optimiser]
    steps: int

    def batches(self, step: int) -> Iterable[Batch]:
        """Offline: the next minibatch. Online: sample, score, advantages, then epochs of minibatches."""
        ...

    def loss(self, items: Sequence[Any]) -> Objective:
        """Loss of some of a batch's items."""
        ...

    def observe(self, step: int) -> dict[str, float]:
        """Further figures of the step that just ended."""
        ...

    def samples(self) -> list[dict[str, Any]]:
        """A few readable answers of the step that just ended."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything JSON-able that must survive a kill, beside modules and optimisers."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        ...
