"""Personal data is counted by kind and never shown; plain numbers and dates are none."""

from __future__ import annotations

import pytest

from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt
from assent.formats.feedback import Feedback
from assent.formats.personal import count, texts_of

MAIL, PHONE, CARD = "e-mail addresses", "phone numbers", "card-like numbers"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to ada.l+x@mail.example.org, please", {MAIL}),
        ("call +44 20 7946 0958 now", {PHONE}),
        ("call (555) 010-9999 now", {PHONE}),
        ("call +442079460958", {PHONE}),
        ("card 4111 1111 1111 1111", {CARD}),  # the published test number: Luhn's sum is 30
        ("card 4111111111111111, mail a@b.de", {CARD, MAIL}),
        ("card 4111111111111112", set()),  # its last digit breaks Luhn's check
        ("on 2024-06-11 and 11.06.2024", set()),
        ("3.14159265358979 and 1234567", set()),
        ("the years 1914 1918", set()),
        ("user@host, a @ b.c", set()),
    ],
)
def test_what_looks_personal(text: str, kinds: set[str]) -> None:
    assert set(count([text])) == kinds


def test_texts_are_counted_and_not_shown() -> None:
    found = count(["a@b.de and c@d.de", "x@y.org", "nothing"])
    assert found == {MAIL: 2}


def test_every_text_that_people_see_is_looked_at() -> None:
    prompt = Prompt.ask("q")
    group = Group(prompt=prompt, answers=(Answer.of(prompt, "answer"),))
    judgment = Judgment(id="j", group=group.id, rater="r", outcome="skip", note="note", ideal="ideal")
    shown = Demonstration(prompt=Prompt.of("asked"), answer=Answer.of(prompt, "shown"))
    seen = set(texts_of(Feedback([group], [judgment], [], [shown], [Prompt.of("alone")])))
    assert seen == {"q", "answer", "note", "ideal", "asked", "shown", "alone"}
