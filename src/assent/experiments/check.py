"""One thing that is claimed or measured of finished runs."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """What is claimed, whether it held (None: measured, nothing is claimed), the figures."""

    what: str
    held: bool | None
    figures: str

    def __str__(self) -> str:
        verdict = "measured" if self.held is None else "held" if self.held else "FAILED"
        return f"{verdict}: {self.what}: {self.figures}"
