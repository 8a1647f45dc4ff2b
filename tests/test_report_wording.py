"""Numbers and durations as people read them."""

from __future__ import annotations

import pytest

from assent.report.data import Number
from assent.report.wording import around, duration, interval, number, visible


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (None, "number", "–"),
        (float("nan"), "percent", "–"),
        (float("inf"), "number", "–"),
        (0.6404, "percent", "64.0 %"),
        (-0.005, "percent", "−0.5 %"),
        (14.25, "count", "14.2"),
        (1536, "count", "1,536"),
        (0.0, "number", "0"),
        (0.1234, "number", "0.123"),
        (-3.207, "number", "−3.21"),
        (123.46, "number", "123.5"),
        (3e-5, "number", "3.0e−05"),
        (2e7, "number", "2.0e+07"),
        (0.0, "score", "0.00"),
        (-1.0, "score", "−1.00"),
    ],
)
def test_numbers(value: float | None, unit: str, said: str) -> None:
    assert number(value, unit) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_intervals() -> None:
    shown = Number(value=0.6, low=0.55, high=0.65, n=120)
    assert interval(shown, "percent") == "55.0 to 65.0 %"
    assert interval(Number(value=-0.4, low=-0.5, high=-0.3)) == "−0.500 to −0.300"
    assert interval(Number(value=0.6)) == ""
    assert around(shown, "percent") == "55.0 to 65.0 %, n 120"
    assert around(Number(value=0.6, n=3)) == "n 3"


def test_ordinary_text_of_any_language_is_left_alone() -> None:
    text = "naïve 日本語 עברית 🙂 tab\tand\nline"
    assert visible(text) == text
    assert visible("a\u202eb\r") == "a⟨U+202E⟩b⟨U+000D⟩"
