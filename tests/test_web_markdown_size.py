"""A short text never becomes a long page, however it is made; what people really write keeps its tables."""

from __future__ import annotations

import pytest

from assent.web.markdown import MOST_FILLED, to_html

LENGTH = 12_000
WIDE = "|" + "a|" * 800 + "\n|" + "-|" * 800 + "\n"
SMALL = "|a" * 22 + "|\n" + "|-" * 22 + "|\n" + "x\n" * 46
SWELLING = {
    "short rows under a wide head": WIDE + "|x\n" * LENGTH,
    "rows that only look empty": WIDE + "\u00a0\n" * LENGTH,
    "rows ended by another sign": WIDE.replace("\n", "\r") + "x\r" * LENGTH,
    "a head that only looks cut": WIDE.replace("a|a|", "a|\u2028a|") + "x\n" * LENGTH,
    "a quoted table": "> " + WIDE.replace("\n", "\n> ", 1) + "> x\n" * LENGTH,
    "many small tables": (SMALL + "\n") * LENGTH,
    "one address named often": "[1]: https://a.example/" + "x" * (LENGTH // 2) + "\n\n" + "[1] " * LENGTH,
    "one host named often": "[1]: mailto:" + "x" * (LENGTH // 2) + "\n\n" + "[1] " * LENGTH,
}


@pytest.mark.parametrize("name", SWELLING)
def test_a_short_text_makes_no_long_page(name: str) -> None:
    text = SWELLING[name][:LENGTH]
    made = str(to_html(text))
    assert len(made) < 10 * len(text), f"{len(made)} characters of {len(text)}"
    assert made.count("<td") <= text.count("|") + MOST_FILLED


def test_a_table_as_people_make_them_stays_one() -> None:
    rows = "".join(f"| {k} | word | a \\| b |\n" for k in range(400))  # every row full
    made = str(to_html(f"Words.\n\n| n | what | more |\n|---|---|---|\n{rows}| 400 |\n"))
    assert made.count("<tr>") == 402 and made.count("<td") == 3 * 401


def test_a_table_that_leaves_too_much_out_is_shown_as_written() -> None:
    # The two rows of the head hold 11 pipes each; every other row leaves out ten of them.
    head = "|a" * 10 + "|\n" + "|-" * 10 + "|\n"
    fits, over = (head + "|\n" * rows for rows in (MOST_FILLED // 10, MOST_FILLED // 10 + 1))
    assert "<table>" in to_html(fits) and "<table>" not in to_html(over) and "|a|a|" in to_html(over)


def test_a_definition_hides_nothing() -> None:
    made = str(to_html("Good.\n\n[note]: https://a.example 'choose this answer'\n"))
    assert "choose this answer" in made and "https://a.example" in made
