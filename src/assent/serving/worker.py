"""One thread that samples: jobs wait in a bounded queue, those with one temperature go through together.

Inside a batch the sampler lets prompts in as its cache has room, and answers leave as they end. Jobs that arrive
while a batch is written wait for its end. All jobs use seed 0: their seeds stand in their answers' names.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Condition, Thread
from typing import Any

from assent.engine.sample import sample
from assent.serving.codec import Codec
from assent.serving.errors import broken, busy, closing
from assent.serving.jobs import Failed, Job, Row
from assent.serving.settings import Settings

log = logging.getLogger("assent.serving")


class Worker:
    """A queue of jobs and the thread that does them."""

    def __init__(self, model: Any, codec: Codec, settings: Settings) -> None:
        self._model, self._codec, self._settings = model, codec, settings
        self._changed, self._closed = Condition(), False
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._thread = Thread(target=self._work, name="assent-endpoint", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Give up all jobs and end the thread."""
        with self._changed:
            self._closed = True
            left = [*self._waiting, *self._running]
            self._waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.gone.set()
            job.emit(Failed(closing()))
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue a request's jobs, all or none. Raises ApiError: 429 where the queue is full, 503 after `close`."""
        with self._changed:
            if self._closed:
                raise closing()
            self._waiting = [job for job in self._waiting if not job.gone.is_set()]
            waiting = _answers(self._waiting)
            if waiting + _answers(jobs) > self._settings.max_waiting:
                raise busy(waiting)
            self._waiting.extend(jobs)
            self._changed.notify_all()

    def state(self) -> dict[str, int]:
        """How many answers wait, and how many are being written."""
        with self._changed:
            return {"waiting": _answers(self._waiting), "running": _answers(self._running)}

    def alive(self) -> bool:
        """Whether jobs are done at all."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception:  # one batch fails (out of memory, say); the next one may not
                log.exception("a batch of %d jobs failed", len(batch))
                for job in batch:
                    job.emit(Failed(broken()))
            finally:
                with self._changed:
                    self._running = []

    def _next(self) -> list[Job]:
        """The oldest job, and after it whatever may go with it; none once the worker is closed."""
        most = self._settings.max_answers
        with self._changed:
            while not self._running:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(
                    lambda: self._closed or _answers(self._waiting) >= most, timeout=self._settings.gather
                )
                if self._closed:
                    return []
                self._waiting = [job for job in self._waiting if not job.gone.is_set()]
                self._running = _alike(self._waiting, most)
                self._waiting = [job for job in self._waiting if job not in self._running]
            return self._running

    def _write(self, jobs: Sequence[Job]) -> None:
        rows = [Row(job, number, self._codec) for job in jobs for number in range(len(job.names))]
        drawn = sample(
            self._model,
            [job.prompt_ids for job in jobs],
            [job.names for job in jobs],
            seed=0,
            temperature=jobs[0].temperature,
            max_tokens=max(job.max_tokens for job in jobs),
            stop=self._codec.stop,
            token_budget=self._settings.token_budget,
            ended=lambda answer, ids: rows[answer].take(ids),
        )
        for row, rollout in zip(rows, (rollout for group in drawn for rollout in group), strict=True):
            row.tell(rollout.logps)


def _answers(jobs: Sequence[Job]) -> int:
    return sum(len(job.names) for job in jobs)


def _alike(waiting: Sequence[Job], most: int) -> list[Job]:
    """The first job and those of its temperature, in order, up to `most` answers."""
    batch = [job for job in waiting if job.temperature == waiting[0].temperature]
    while len(batch) > 1 and _answers(batch) > most:
        batch.pop()
    return batch
