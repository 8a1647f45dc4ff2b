"""A sampler that stops in the middle of an answer, for tests of what happens meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from assent.serving import worker


class Held:
    """The sampler, which stands still at its `after`-th token until told to `go`, and counts.

    `batches` are its calls: temperature, number of answers to each prompt, longest answer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
        self.go, self.tokens, self._after = threading.Event(), 0, after
        self.batches: list[tuple[float, list[int], int]] = []
        self.reached, self.returned = threading.Event(), threading.Event()
        self._sample = worker.sample
        monkeypatch.setattr(worker, "sample", self)

    def __call__(
        self,
        model: Any,
        prompts: Any,
        names: Sequence[Sequence[str]],
        *,
        ended: Callable[[int, Sequence[int]], bool],
        **options: Any,
    ) -> Any:
        self.batches.append((options["temperature"], [len(each) for each in names], options["max_tokens"]))

        def held(answer: int, ids: Sequence[int]) -> bool:
            self.tokens += 1
            if self.tokens == self._after:
                self.reached.set()
                assert self.go.wait(60)
            return ended(answer, ids)

        try:
            return self._sample(model, prompts, names, ended=held, **options)
        finally:
            self.returned.set()

    async def until_reached(self) -> None:
        """Wait until the sampler stands still."""
        while not self.reached.is_set():
            await asyncio.sleep(0)
