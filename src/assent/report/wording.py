"""Numbers and texts as people read them: units, dashes, durations, invisible characters made visible."""

from __future__ import annotations

import math
import re

from assent.report.data import Number, Unit

MISSING = "–"

INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, zero-width and bidirectional marks, tag characters and lone surrogates: what can hide or
reorder text. New line and tab stay."""


def visible(text: str) -> str:
    """`text` with characters that nobody can see, or that change what is seen, written as U+XXXX."""
    return INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def number(value: float | None, unit: Unit = "number") -> str:
    """A value in its unit; a dash where it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    if unit == "percent":
        text = f"{100 * value:.1f} %"
    elif unit == "count":
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    elif unit == "score":
        text = f"{value:.2f}"
    elif value == 0:
        text = "0"
    elif abs(value) >= 1e5 or abs(value) < 5e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 100 else 1}f}"
    return text.replace("-", "−")


def interval(shown: Number, unit: Unit = "number") -> str:
    """The interval, low to high; empty where there is none."""
    if shown.low is None or shown.high is None:
        return ""
    low, high = number(shown.low, unit), number(shown.high, unit)
    return f"{low.removesuffix(' %')} to {high}"


def around(shown: Number, unit: Unit = "number") -> str:
    """What stands around a value: its interval and n, as far as they are known."""
    count = "" if shown.n is None else f"n {shown.n}"
    return ", ".join(part for part in (interval(shown, unit), count) if part)


def duration(seconds: float | None) -> str:
    """Seconds as `0.4 s`, `42 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(count: float | None) -> str:
    """Bytes as `512 MiB` or `1.5 GiB`."""
    if count is None:
        return MISSING
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
