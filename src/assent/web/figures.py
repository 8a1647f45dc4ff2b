"""The lead's figures, computed once for each change of the store and shared by everybody who looks.

    figures.of(quality.compute)      # quality.compute(state), or what it gave before

A figure stays while the store's mark does. Where people judge all the time it would never stay: a figure that took
longer than `QUICK` then rests for `REST` times as long, so that at most a fifth of one core goes into it, and small
projects still see every judgment at once. Meanwhile the older figure is shown, with its time. What somebody told of
himself and took back is gone at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from assent.feedback.state import Mark, State, mark, state
from assent.feedback.store import Store

T = TypeVar("T")
QUICK, REST = 1.0, 4.0


@dataclass(frozen=True)
class _Kept:
    mark: Mark
    value: Any
    rests_until: float


class Figures:
    """Figures of one store. May be used by many threads.

    Parameters: `clock`, seconds that only ever go up.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._kept: dict[Callable[..., Any], _Kept] = {}
        self._busy: dict[Callable[..., Any], threading.Lock] = {}
        self._state_lock = threading.Lock()
        self._state: State | None = None

    def of(self, compute: Callable[[State], T]) -> T:
        """What `compute` makes of the store's state. While another thread computes it, the older figure if any."""
        kept, now = self._kept.get(compute), mark(self._store)
        if kept and (kept.mark == now or (kept.mark.told == now.told and self._clock() < kept.rests_until)):
            return kept.value  # type: ignore[no-any-return]
        busy = self._busy.setdefault(compute, threading.Lock())
        if not busy.acquire(blocking=kept is None or kept.mark.told != now.told):
            assert kept is not None
            return kept.value  # type: ignore[no-any-return]
        try:
            return self._fresh(compute)
        finally:
            busy.release()

    def _fresh(self, compute: Callable[[State], T]) -> T:
        kept = self._kept.get(compute)
        begun = self._clock()
        seen = self._seen()
        if kept and kept.mark == seen.mark:  # another thread was first
            return kept.value  # type: ignore[no-any-return]
        value = compute(seen)
        took = self._clock() - begun
        self._kept[compute] = _Kept(seen.mark, value, begun + took + (REST * took if took > QUICK else 0.0))
        return value

    def _seen(self) -> State:
        """The state, read again only where it changed; figures of one moment share it."""
        with self._state_lock:
            if self._state is None or self._state.mark != mark(self._store):
                self._state = state(self._store)
            return self._state
