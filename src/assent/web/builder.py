"""The lead's choices for an export: what there is to choose from, and the options that were chosen.

A choice travels as the query of the page: what was looked at is what is exported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from starlette.datastructures import QueryParams

from assent.core.errors import DataError
from assent.feedback.export_filters import NO_GUIDELINE, STRATA, Filters, Split
from assent.feedback.export_options import MOST_HELD_OUT, READERS, TYPED, Options, Type
from assent.feedback.state import State
from assent.formats import write
from assent.web import words
from assent.web.language import noted

LONGEST = 100
MOST_LIMITS = 2000
ROW_TYPES = {
    "preference": noted("preferences"),
    "completion": noted("answers to imitate"),
    "unpaired": noted("answers with a thumb"),
}
SHAPES = {
    "trl": noted("TRL, JSON lines"),
    "parquet": noted("TRL, Parquet"),
    "csv": noted("TRL's columns, CSV"),
    "hh": noted("transcripts like HH-RLHF's"),
    "openai": noted("OpenAI's preference fine-tuning"),
    "chat": noted("chat fine-tuning"),
    "native": noted("Assent's own records"),
}
ROWS = {"judgment": noted("one per judgment and pair"), "pair": noted("one per pair, all votes as a soft label")}
MARGINS = {"given": noted("as the source gave it"), "strength": noted("the rater's strength, 0 to 3")}
AGREEMENT = {
    "unanimous": noted("unanimous"),
    "majority": noted("majority"),
    "split": noted("split"),
    "single": noted("one rater"),
}
OUTCOMES = {"ranked": noted("ranked"), "both_bad": noted("both bad"), "skip": noted("skipped")}
KINDS = {**words.SOURCES, "simulated": noted("simulated")}
LABELS = {
    "rows": noted("Rows"),
    "margin": noted("Margin"),
    "best": noted("Answers that raters put first are answers to imitate"),
    "rater-group": noted("Groups of raters"),
}
"""Option of the command -> its label on the page."""
STEPS = {
    "all": noted("All that stands"),
    "guidelines": noted("Guideline"),
    "raters": noted("Raters"),
    "kinds": noted("Kind of rater"),
    "outcomes": noted("Outcome"),
    "agreement": noted("Agreement"),
    "checks": noted("Without check items and repeats"),
    "train": noted("Training side"),
    "test": noted("Test side"),
}
LEFT_OUT = (
    noted("superseded or taken back by a later judgment"),
    noted("a written answer: nothing is compared"),
    noted("outcome {1}: no answer is preferred"),
    noted("tie or equal texts: no answer is preferred"),
    noted("pair of answers: as many votes for the one as for the other"),
    noted("tie, skip or written answer: neither liked nor disliked"),
    noted("a transcript has no place for a plain text"),
    noted("a transcript has no place for a {1} message"),
    noted("a transcript begins with a user turn"),
    noted("a transcript could not be taken apart again: a text holds a speaker's mark"),
    noted("a chat file has no place for plain text"),
    noted("a chat file must not hold an empty message"),
    noted("tags that are no columns (name taken, no scalar, mixed kinds): {1}"),
    noted("filter: guideline"),
    noted("filter: rater"),
    noted("filter: kind of rater"),
    noted("filter: outcome"),
    noted("filter: agreement stratum"),
    noted("filter: author of a demonstration"),
    noted("gold or repeat: asked to check raters"),
    noted("split: its prompt and its rater stand on different sides"),
    noted("split: its prompt and its author stand on different sides"),
)
"""Why something is left out, as `formats.write` and `feedback.export_filters` say it."""
FAULTS = (
    noted("nothing is left to export"),
    noted("a pair with several votes has no one strength"),
    noted("no judgment has the {1} `{2}`"),
    noted("all raters are of one group by `{1}`, so none can be held out"),
    *(noted("guideline"), noted("rater"), noted("kind of rater"), noted("outcome"), noted("agreement stratum")),
)
"""What `feedback.export` refuses."""


@dataclass(frozen=True)
class Choices:
    """What stands in the store to be chosen from, with the number of judgments that stand."""

    guidelines: list[tuple[str, str, int]]
    """Version, name, judgments."""
    raters: dict[str, int]
    kinds: list[str]
    attributes: list[str]


def choices(state: State) -> Choices:
    """For `Figures.of`."""
    versions = Counter(act.guideline or NO_GUIDELINE for act in state.standing)
    names = {each.version: each.name for each in state.guidelines}
    return Choices(
        guidelines=[(version, names.get(version, version), n) for version, n in versions.items()],
        raters=Counter(act.rater for act in state.standing),
        kinds=sorted({rater.kind for rater in state.raters}),
        attributes=sorted({name for rater in state.raters for name in rater.attributes}),
    )


def shapes() -> list[tuple[str, str, str]]:
    """Every shape with its types of rows: the value `SHAPE` or `SHAPE:TYPE`, and two labels."""
    found = []
    for shape in READERS:
        types = get_args(Type) if shape in TYPED else ("",)
        found += [(f"{shape}:{each}".rstrip(":"), SHAPES[shape], ROW_TYPES.get(each, "")) for each in types]
    return found


def options(typed: QueryParams, name: str) -> Options:
    """What was chosen; `name` is that of the data where none is typed. Raises DataError, in words of the page."""
    if "shape" not in typed:
        raise DataError("Choose a shape first.")
    shape, _, rows = _one(typed, "shape", [value for value, *_ in shapes()]).partition(":")
    chosen: dict[str, Any] = {
        "shape": shape,
        "type": rows or "preference",
        "per": _one(typed, "rows", get_args(write.Per)),
        "margin": _one(typed, "margin", get_args(write.Margin)),
    }
    found = Options(
        **chosen,
        best="best" in typed,
        filters=Filters(
            guidelines=frozenset(typed.getlist("guideline")),
            agreement=frozenset(_some(typed, "agreement", STRATA)),
            raters=frozenset(typed.getlist("rater")),
            kinds=frozenset(typed.getlist("kind")),
            outcomes=frozenset(_some(typed, "outcome", tuple(OUTCOMES))),
            checks="checks" in typed or shape == "native",
        ),
        split=Split(_share(typed, "held_out"), _share(typed, "held_out_raters"), typed.get("rater_group", "id")),
        licence=_line(typed, "licence") or None,
        limits=_limits(typed.get("limits", "")),
        name=_line(typed, "name") or name,
    )
    if unread := found.unread():
        raise DataError(f"“{LABELS[unread[0]]}” means nothing with these choices: set it back.")
    return found


def _one(typed: QueryParams, name: str, known: Any) -> str:
    """One of several values; the first where nothing was chosen."""
    return _some(typed, name, known)[0] if typed.get(name) else str(known[0])


def _some(typed: QueryParams, name: str, known: Any) -> list[str]:
    values = typed.getlist(name)
    if odd := [value for value in values if value not in known]:
        raise DataError(f"There is no choice “{odd[0][:LONGEST]}”.")
    return values


def _share(typed: QueryParams, name: str) -> float:
    """A percentage as a share."""
    text = typed.get(name, "").strip() or "0"
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100 * MOST_HELD_OUT:
        raise DataError(f"“{text[:LONGEST]}” is no share for the test side. Give a number from 0 to 90.")
    return value / 100


def _line(typed: QueryParams, name: str) -> str:
    text = typed.get(name, "").strip()
    if len(text) > LONGEST or not text.isprintable():
        raise DataError(f"Name and licence are one line of up to {LONGEST} characters each.")
    return text


def _limits(text: str) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(text) > MOST_LIMITS or not all(line.isprintable() for line in lines):
        raise DataError(f"The limits are up to {MOST_LIMITS} characters of plain lines.")
    return lines
