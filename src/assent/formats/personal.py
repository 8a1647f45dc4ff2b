"""What looks like personal data in texts: counted, never shown. A hint, no proof of either kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from assent.formats.feedback import Feedback

EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
PHONE = re.compile(
    r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?\(\d{1,4}\)[ .-]?\d{2,4}(?:[ .-]\d{2,4}){1,4}(?!\w)"  # (555) 010-9999
    r"|(?<![\w.])(?:\+\d{1,3}[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){2,4}(?!\w)"  # +44 20 7946 0958
    r"|\+\d{8,15}\b"
)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[.-]\d{1,2}[.-]\d{2,4}")


def count(texts: Iterable[str]) -> dict[str, int]:
    """Kind -> number of texts that hold one: `e-mail addresses`, `phone numbers`, `card-like numbers`; none, no key.

    Card-like numbers have 13 to 19 digits and pass Luhn's check. Simple patterns: they miss names and addresses, and
    take some numbers for phone numbers that are none.
    """
    found: dict[str, int] = {}
    for text in texts:
        for kind in set(_kinds(text)):
            found[kind] = found.get(kind, 0) + 1
    return dict(sorted(found.items()))


def texts_of(feedback: Feedback) -> Iterator[str]:
    """Every text that people wrote or will see: prompts, answers, notes, ideal answers, demonstrations."""
    for prompt in (
        *feedback.prompts,
        *(g.prompt for g in feedback.groups),
        *(d.prompt for d in feedback.demonstrations),
    ):
        yield from (message.content for message in prompt.messages)
    yield from (answer.text for group in feedback.groups for answer in group.answers)
    yield from (d.answer.text for d in feedback.demonstrations)
    for judgment in feedback.judgments:
        yield from (text for text in (judgment.note, judgment.ideal) if text)


def _kinds(text: str) -> Iterator[str]:
    if EMAIL.search(text):
        yield "e-mail addresses"
    rest = text
    for found in CARD.finditer(text):
        if _luhn(found[0]):
            yield "card-like numbers"
            rest = rest.replace(found[0], "")
    if any(8 <= _digits(found[0]) <= 15 and not DATE.fullmatch(found[0]) for found in PHONE.finditer(rest)):
        yield "phone numbers"


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


def _luhn(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1): every second digit from the right doubled, the digits' sum a multiple of 10."""
    digits = [int(character) for character in text if character.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(digits)]
    return sum(doubled) % 10 == 0
