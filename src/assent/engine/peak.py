"""Most memory that was held, measured: `forget` before the work, `held` after it (expected: engine/memory.py).

On Linux the kernel keeps the most that a process ever held resident, and can be told to begin anew; what earlier work
left with the allocator counts. On a GPU it is the most that tensors took. Elsewhere nothing is known.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
PEAK_ONLY = "5"
"""What the kernel takes as: set the peak to what is held now (proc(5), clear_refs)."""


def forget(device: torch.device) -> bool:
    """Begin anew; whether the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        CLEAR.write_text(PEAK_ONLY)
    except OSError:
        return False
    return True


def held(device: torch.device) -> int | None:
    """Bytes at the peak since `forget`; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
