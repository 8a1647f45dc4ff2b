"""Memory there is, and running out of it: what was computed, what it wanted, and which setting to change to what."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from assent.core.errors import TrainingError

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
FULL = re.compile(r"can't allocate memory|out of memory|STATUS_ALLOC_FAILED", re.IGNORECASE)
WANTED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?\w+)")


def available(device: torch.device) -> int | None:
    """Bytes that can still be had on `device`; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        free = int(found[1]) * 1024 if found else None
    except OSError:  # no Linux: all there is
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return None
    limit = _container()
    return limit if free is None else free if limit is None else min(free, limit)


def _container() -> int | None:
    """What a container's limit leaves, files that are merely cached not counted."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        held = re.search(r"^anon (\d+)$", (CGROUP / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # none, or `max`
        return None
    return max(0, limit - int(held[1])) if held else limit


def is_full(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of the machine."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and FULL.search(str(error)) is not None)


@contextmanager
def during(what: str, tokens: int | None = None) -> Iterator[None]:
    """Let an error that says memory is full also say during what, and with how many tokens in one pass."""
    try:
        yield
    except Exception as error:
        if is_full(error) and not hasattr(error, "assent_during"):
            error.assent_during = (what, tokens)  # type: ignore[attr-defined]
        raise


@contextmanager
def refused(step: str, key: str, token_budget: int, may_checkpoint: bool) -> Iterator[None]:
    """Turn running out of memory into a TrainingError that names the settings of `step` to change.

    `key` is where the token budget stands; `may_checkpoint`: activations are kept and need not be.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise _refusal(error, step, key, token_budget, may_checkpoint) from None


def _refusal(error: Exception, step: str, key: str, token_budget: int, may_checkpoint: bool) -> TrainingError:
    what, tokens = getattr(error, "assent_during", ("", None))
    found = WANTED.search(str(error))
    wanted = f" ({_readable(found[1])} more were wanted)" if found else ""
    ways = []
    if tokens is not None and tokens > token_budget:
        ways.append(f"{step}.limits.max_length with {step}.limits.too_long=drop (one group is larger than the budget)")
    else:
        ways.append(f"{step}.{key}={max(1, min(tokens or token_budget, token_budget) // 2)} (now {token_budget})")
    if may_checkpoint:
        ways.append(f"{step}.limits.activation_checkpointing=true (now false)")
    return TrainingError(
        f"out of memory{f' during {what}' if what else ''}{wanted}",
        where=step,
        fix=f"set {', or '.join(ways)}; or take a smaller model. The last checkpoint is kept, and the same command "
        "with the new setting goes on from it",
    )


def _readable(amount: str) -> str:
    """CUDA says `2.00 GiB`, the CPU `2147483648 bytes`."""
    number, unit = amount.split(" ") if " " in amount else (amount, "bytes")
    return size(int(number)) if unit == "bytes" and number.isdigit() else amount


def size(count: float) -> str:
    """Bytes in words: `1.5 GiB`."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= one:
            return f"{count / one:,.1f} {unit}"
    return f"{count:.0f} bytes"
