"""The words that stand on several screens and in the data: reasons, reasons to skip, roles."""

from __future__ import annotations

from collections.abc import Iterable

from assent.web.language import gettext as _
from assent.web.language import noted

REASONS = (
    ("correct", noted("more correct")),
    ("helpful", noted("more helpful")),
    ("instructions", noted("follows instructions")),
    ("clear", noted("clearer")),
    ("safe", noted("safer")),
    ("honest", noted("more honest")),
    ("length", noted("better length")),
)
"""Code in the data and label on the screen, in the order of the keys q w e r t y u."""
FLAGGED = "flagged"
"""Reason that the key F adds: somebody should look at this item."""
SKIPS = (
    ("sensitive", noted("I do not want to judge this")),
    ("unsure", noted("I do not know enough to judge this")),
    ("unclear", noted("The question makes no sense")),
    ("broken", noted("Something is shown wrongly")),
    ("personal", noted("It holds somebody's personal data")),
)
LABELS = {
    **dict(REASONS),
    **{f"skip:{code}": label for code, label in SKIPS},
    FLAGGED: noted("flagged"),
    "red_team": noted("red team"),
}
"""Every code that may stand in a judgment's reasons, in words."""
CODES = {code for code, _ in REASONS} | {FLAGGED} | {f"skip:{code}" for code, _ in SKIPS}
WHO = {"system": noted("System"), "user": noted("User"), "assistant": noted("Assistant"), "text": noted("Text")}
_MUCH, _CLEARLY, _SLIGHTLY = noted("much"), noted("clearly"), noted("slightly")
STRENGTHS = (_MUCH, _CLEARLY, _SLIGHTLY, noted("same"), _SLIGHTLY, _CLEARLY, _MUCH)
"""Words of the keys 1 to 7."""
KINDS = {"compare": noted("Compare"), "rank": noted("Rank"), "write": noted("Write")}
"""Kind of work -> its name."""
TO_DO = {"compare": noted("compare"), "rank": noted("rank"), "write": noted("write")}
"""Kind of work -> what is done, within a sentence."""
ROLES = {"rater": noted("rater"), "reviewer": noted("reviewer"), "lead": noted("lead")}
"""What a person may do -> its name."""
SOURCES = {"human": noted("human"), "model": noted("model"), "rule": noted("rule"), "unknown": noted("unknown")}
"""Kind of rater -> its name."""
TOLD = (noted("other"), noted("not told"))
"""What stands beside the values that people can tell of themselves."""
FAULTS = (
    noted("{1} no answer in time"),
    noted("{1} cannot be reached: {2}"),
    noted("{1} answered {2}"),
    noted("{1} answered {2}: the key is not accepted"),
    noted("{1} answered in a shape that is not OpenAI's chat completion"),
    noted("{1} gave an empty answer"),
    noted("{1} gave an answer of more than {2} characters"),
)
"""What `endpoints` says of a model, behind its name."""
PLACES = (noted("row {1}"), noted("Answers per prompt"), noted("Judgments per item"), noted("Seed"))
"""What stands in errors as a place or a label."""
ORDER = (noted(", slightly"), noted(", clearly"), noted(", much"))
"""What follows an order of two answers, by strength 1 to 3."""


def reasons(codes: Iterable[str]) -> str:
    """The reasons of a judgment, in words."""
    return ", ".join(_(LABELS.get(code, code)) for code in codes)


def strength(number: int | None) -> str:
    """What follows an order, empty at a tie and where none was given."""
    return _(ORDER[number - 1]) if number else ""
