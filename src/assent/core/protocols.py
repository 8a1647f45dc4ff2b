"""The two protocols that keep rooms apart: who answers, and who scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from assent.core.records import Group, Prompt


class Generator(Protocol):
    """Anything that answers prompts: a local policy, an endpoint, a person at a keyboard."""

    def generate(self, prompts: Sequence[Prompt], n: int, seed: int) -> list[Group]:
        """One group of `n` answers per prompt, in the order of `prompts`."""
        ...


class Scorer(Protocol):
    """Anything that rates answers: a reward model, a function, an ensemble, the lab's gold rubric."""

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """One number per answer (higher is better), None where it cannot be computed."""
        ...
