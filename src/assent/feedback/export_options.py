"""What an export is asked for: the shape, the rows, the filters, the split. The same from the command and the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from assent.core.errors import ConfigError, DataError
from assent.feedback.export_filters import Filters, Split
from assent.formats import write

Shape = Literal["trl", "hh", "openai", "chat", "native", "parquet", "csv"]
Type = Literal["preference", "completion", "unpaired"]
TYPED = ("trl", "parquet", "csv")
"""Shapes that have several types of rows."""
SUFFIXES = {"parquet": ".parquet", "csv": ".csv"}
"""Ends of the files that are no JSON lines."""
MOST_HELD_OUT = 0.9
READERS = {
    "trl": "TRL, one JSON object a line",
    "parquet": "TRL, Parquet",
    "csv": "TRL's columns, CSV",
    "hh": "HH-RLHF's transcripts",
    "openai": "OpenAI's preference fine-tuning",
    "chat": "chat fine-tuning (`messages`)",
    "native": "Assent's own records",
}


@dataclass(frozen=True)
class Options:
    """What is exported, and how."""

    shape: Shape
    type: Type = "preference"
    """Rows of `trl`, `parquet` and `csv`."""
    per: write.Per = "judgment"
    """A row per judgment and pair, or per pair with the votes of all raters together."""
    margin: write.Margin = "given"
    """Where the column `margin` comes from: the source's own, or the rater's strength, 0 to 3."""
    best: bool = False
    """Whether first choices are answers to imitate as well."""
    filters: Filters = field(default_factory=Filters)
    split: Split = field(default_factory=Split)
    licence: str | None = None
    limits: tuple[str, ...] = ()
    name: str = "Feedback"

    @property
    def preferences(self) -> bool:
        """Whether the rows are preferences."""
        return self.shape in ("hh", "openai") or (self.shape in TYPED and self.type == "preference")

    @property
    def imitated(self) -> bool:
        """Whether the rows are answers to imitate."""
        return self.shape == "chat" or (self.shape in TYPED and self.type == "completion")

    def check(self) -> None:
        """Refuse what is none of the choices, and what would not be read."""
        known: dict[str, tuple[str, Any]] = {
            "as": (self.shape, Shape),
            "type": (self.type, Type),
            "rows": (self.per, write.Per),
            "margin": (self.margin, write.Margin),
        }
        for option, (value, choices) in known.items():
            if value not in get_args(choices):
                fix = f"one of {', '.join(get_args(choices))}"
                raise ConfigError(f"`{value}` is none", where=f"--{option}", fix=fix)
        if unread := self.unread():
            raise DataError(f"`--{unread[0]}` is not read with these options", fix="docs/formats.md, Writing")
        if self.margin == "strength" and self.per == "pair":
            raise DataError("a pair with several votes has no one strength", fix="`--rows judgment`, or no `--margin`")

    def unread(self) -> list[str]:
        """Options of the command that are given and would have no effect."""
        unread = {
            "type": self.type != "preference" and self.shape not in TYPED,
            "rows": self.per != "judgment" and not self.preferences,
            "margin": self.margin != "given" and not (self.shape in TYPED and self.preferences),
            "best": self.best and not self.imitated,
            "rater-group": self.split.by != "id" and not self.split.raters,
        }
        return [option for option, refused in unread.items() if refused]

    def arguments(self) -> list[str]:
        """What `assent feedback export SOURCE --to FOLDER` is given to write the same bytes."""
        plain = Options(self.shape, name="")
        filters = self.filters
        one = (
            ("--type", self.type, plain.type),
            ("--rows", self.per, plain.per),
            ("--margin", self.margin, plain.margin),
            ("--held-out", repr(self.split.prompts), "0.0"),
            ("--held-out-raters", repr(self.split.raters), "0.0"),
            ("--rater-group", self.split.by, "id"),
            ("--licence", self.licence or "", ""),
            ("--name", self.name, ""),
        )
        many = {
            "--guideline": filters.guidelines,
            "--agreement": filters.agreement,
            "--rater": filters.raters,
            "--kind": filters.kinds,
            "--outcome": filters.outcomes,
        }
        found = ["--as", self.shape]
        found += ["--best"] if self.best else []
        found += ["--with-checks"] if filters.checks and self.shape != "native" else []
        found += [word for option, value, usual in one if value != usual for word in (option, value)]
        found += [word for option, values in many.items() for value in sorted(values) for word in (option, value)]
        return found + [word for limit in self.limits for word in ("--limit", limit)]
