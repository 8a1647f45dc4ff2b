"""Several processes that train one model: the only file that knows torch.distributed.

Started by torchrun, every process (rank) holds the whole data, the whole model and the same plan. It computes
its share of a batch, and what all need is gathered or summed, so every rank knows the same and decides the
same. Without torchrun there is one rank, and nothing here does anything.

A rank that dies closes its connections: whoever waits for it gets an error at once. A rank that lives but does
not come is waited for PATIENCE: it may be writing a checkpoint, or have the longer share of a long batch.
"""

from __future__ import annotations

import heapq
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import groupby
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from assent.core import jsonl
from assent.core.console import log, out
from assent.core.errors import AssentError, ConfigError, Interrupted, TrainingError

T = TypeVar("T")
PATIENCE = timedelta(hours=1)
"""Longest wait for a rank that lives. It ends a job that hangs; one with a dead rank ends much earlier."""
BUCKET = 2**25
"""Bytes that are summed at once: bounds the copy that a flat buffer is."""

_store: dist.Store | None = None


def start() -> None:
    """Join the job that torchrun started; without it, nothing. Ranks after the first fall silent and write no file.

    Gloo carries what is in main memory, NCCL what is on GPUs. Raises ConfigError where a rank has no GPU.
    """
    global _store
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    if os.environ["WORLD_SIZE"] == os.environ.get("LOCAL_WORLD_SIZE"):
        # All on one machine: listen on its own loopback only, and do not depend on how its name resolves.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    with _meeting():
        _store, own, n = next(dist.rendezvous("env://", timeout=timedelta(minutes=5)))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=_store, rank=own, world_size=n, timeout=PATIENCE)
    log.quiet = out.quiet = jsonl.read_only = not is_first()
    signal.signal(signal.SIGTERM, _told_to_end)


def _told_to_end(number: int, frame: FrameType | None) -> None:
    """torchrun ends all ranks when one has failed; by default that would be a death without a word."""
    raise Interrupted(
        "told to end: another rank has ended, or the whole job was stopped",
        where=f"rank {rank()} of {size()}",
        fix="run the same command again to go on; finished steps are kept",
    )


def _take_gpu(number: int) -> None:
    if number >= torch.cuda.device_count():
        raise ConfigError(
            f"process {number + 1} has no GPU of its own; this machine has {torch.cuda.device_count()}",
            where="torchrun --nproc-per-node",
            fix="start as many processes as there are GPUs, or set CUDA_VISIBLE_DEVICES= to train on the CPU",
        )
    torch.cuda.set_device(number)


def rank() -> int:
    """Number of this process among all of the job, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Processes of the job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def here() -> int:
    """Processes of the job on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the rank that writes and speaks."""
    return rank() == 0


def share(sizes: Sequence[int]) -> list[int]:
    """Indices of this rank's share of things of these sizes, in order; the shares have about equal sums.

    Longest first, each to the rank with least (Graham 1969): at most a third above the best split. Every rank
    computes the same split, so nothing is sent. A share may be empty.
    """
    if size() == 1:
        return list(range(len(sizes)))
    loads = [(0, r) for r in range(size())]
    own = []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        load, to = loads[0]
        heapq.heapreplace(loads, (load + sizes[i], to))
        if to == rank():
            own.append(i)
    return sorted(own)


def gather(mine: list[T]) -> list[T]:
    """The lists of all ranks as one, on every rank. Tensors in them must be in main memory."""
    if size() == 1:
        return mine
    lists: list[Any] = [None] * size()
    with _meeting():
        dist.all_gather_object(lists, mine)
    return [thing for one in lists for thing in one]


def sum_(tensors: Sequence[Tensor]) -> None:
    """Make each tensor the sum over all ranks, in place; every rank gives the same shapes in the same order."""
    if size() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _meeting():
            dist.all_reduce(flat)
        for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type and device, BUCKET bytes at most unless one tensor alone is larger."""
    for _, alike in groupby(tensors, key=lambda t: (t.dtype, t.device)):
        bucket: list[Tensor] = []
        for tensor in alike:
            if bucket and sum(t.nbytes for t in bucket) + tensor.nbytes > BUCKET:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket


def first(work: Callable[[], T]) -> T:
    """What `work` gives, or the error a user can act on that it raises, on every rank; it runs on rank 0 alone."""
    if size() == 1:
        return work()
    box: list[Any] = [None, None]
    if is_first():
        try:
            box[0] = work()
        except (AssentError, OSError) as error:
            box[1] = error
    with _meeting():
        dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise box[1]
    result: T = box[0]
    return result


def any_(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    if size() == 1:
        return flag
    found = torch.tensor(int(flag))
    with _meeting():
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found)


def wait() -> None:
    """Wait until every rank is here."""
    any_(False)


@contextmanager
def _meeting() -> Iterator[None]:
    """Whatever goes wrong where ranks meet means that one of them is not there."""
    try:
        yield
    except RuntimeError as error:
        # This rank ends by itself from here on; torchrun's SIGTERM would only interrupt it saying why.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Gloo's message without the place in its source and its advice.
        reason = str(error).strip().splitlines()[0].split("] ", 1)[-1].split(". This is")[0]
        raise TrainingError(
            f"another rank has ended, or does not answer ({reason})",
            where=f"rank {rank()} of {size()}",
            fix="look at the first error above and at torchrun's report; the same command, run again, goes on from the "
            "last checkpoint",
        ) from None


@contextmanager
def one_voice() -> Iterator[bool]:
    """Around saying why the job ends: True on the rank that failed first, which speaks even if it was silent so far.

    The others failed because of it, or in the same way. They wait until it has spoken: torchrun ends all as
    soon as one has exited.
    """
    if _store is None:
        yield True
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        speaks = _store.add("ended", 1) == 1
        if not speaks:
            _store.wait(["spoken"], timedelta(seconds=20))
    except RuntimeError:  # torchrun itself is gone, or the speaker died
        speaks = True
    log.quiet = not speaks
    try:
        yield speaks
    finally:
        with suppress(RuntimeError):
            _store.set("spoken", "1")
