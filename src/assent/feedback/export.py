"""Feedback as a folder that other tools read, with datasheet and checksums; the whole folder or none.

FOLDER/train.jsonl ...    rows (`formats.write`), or groups.jsonl ... for our own records
FOLDER/datasheet.json     and DATASHEET.md: what it is, from whom, what was left out and why
FOLDER/SHA256SUMS         of every other file, as `sha256sum -c` reads them
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from assent.core.errors import DataError
from assent.core.hashing import tree_hash
from assent.core.jsonl import write_atomic, write_json
from assent.feedback import reads
from assent.feedback.export_datasheet import counted, describe, limits, markdown
from assent.feedback.export_filters import Filters, Split, divide, select
from assent.formats import write, write_files
from assent.formats.feedback import Feedback
from assent.formats.load import ABOUT
from assent.formats.preferences import is_blank

Shape = Literal["trl", "hh", "openai", "chat", "native", "parquet"]
Type = Literal["preference", "completion", "unpaired"]
PAGE, SUMS = "DATASHEET.md", "SHA256SUMS"
TYPED = ("trl", "parquet")
"""Shapes that have several types of rows."""
READERS = {
    "trl": "TRL, one JSON object a line",
    "parquet": "TRL, Parquet",
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
    """Rows of `trl` and `parquet`."""
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
        """Refuse what would not be read."""
        unread = {
            "type": self.type != "preference" and self.shape not in TYPED,
            "rows": self.per != "judgment" and not self.preferences,
            "margin": self.margin != "given" and not (self.shape in TYPED and self.preferences),
            "best": self.best and not self.imitated,
            "rater-group": self.split.by != "id" and not self.split.raters,
        }
        for option, refused in unread.items():
            if refused:
                raise DataError(f"`--{option}` is not read with these options", fix="docs/formats.md, Writing")
        if self.margin == "strength" and self.per == "pair":
            raise DataError("a pair with several votes has no one strength", fix="`--rows judgment`, or no `--margin`")


def export(feedback: Feedback, folder: Path, options: Options) -> dict[str, Any]:
    """Write `folder`, which must not be there yet; returns its datasheet. Raises DataError where nothing is left."""
    options.check()
    if folder.exists():
        raise DataError("is there already and is not overwritten", where=str(folder), fix="give another folder")
    left_out: write.LeftOut = Counter()
    taken = select(feedback, options.filters, left_out)
    sides = divide(taken, options.split, left_out)
    work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    try:
        rows = {
            name: n
            for stem, side in (("train", sides.train), ("test", sides.test))
            for name, n in _files(work, stem, side, options, left_out).items()
        }
        if not rows:
            raise DataError("nothing is left to export", fix=_why_nothing(left_out, options))
        sheet = _sheet(work, rows, taken, options, left_out)
        work.replace(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return sheet


def _files(work: Path, stem: str, side: Feedback, options: Options, left_out: write.LeftOut) -> dict[str, int]:
    """Write one side; file name -> rows."""
    if options.shape == "native":
        below = work / stem if options.split.any() else work
        written = write_files.write_native(below, side)
        return {str((below / name).relative_to(work)): n for name, n in written.items()}
    typed = options.shape in TYPED
    rows = list(_rows(side, options, left_out))
    if typed and (lost := write_files.lost_tags(prompt for prompt, _ in rows)):
        left_out[f"tags that are no columns (name taken, no scalar, mixed kinds): {', '.join(sorted(lost))}"] += len(
            lost
        )
    return write_files.write_rows(work, stem, rows, parquet=options.shape == "parquet", tags=typed)


def _rows(side: Feedback, options: Options, left_out: write.LeftOut) -> Iterator[tuple[Any, write.Row]]:
    if options.imitated:
        found = write.completions(side, options.best)
        return write.chat_rows(found, left_out) if options.shape == "chat" else write.trl_completion(found)
    if not options.preferences:
        return write.trl_unpaired(write.thumbs(side, left_out))
    chosen = write.choices(_with_ideals(side), left_out, options.per, options.margin)
    if options.shape == "hh":
        return write.hh_rows(chosen, left_out)
    return write.openai_rows(chosen, left_out) if options.shape == "openai" else write.trl_preference(chosen)


def _with_ideals(feedback: Feedback) -> Feedback:
    """Each ideal answer as a judgment too: better than the best answers there were."""
    written = {group.id for group in feedback.groups if is_blank(group)}
    judged = [j for j in feedback.judgments if j.group not in written]
    groups, judgments = reads.ideal_pairs(feedback.groups, judged)
    known, here = {g.id for g in feedback.groups}, {j.id for j in feedback.judgments}
    return replace(
        feedback,
        groups=[*feedback.groups, *(g for g in groups if g.id not in known)],
        judgments=[*feedback.judgments, *(j for j in judgments if j.id not in here)],
    )


def _sheet(
    work: Path, rows: dict[str, int], taken: Feedback, options: Options, left_out: write.LeftOut
) -> dict[str, Any]:
    sums = tree_hash(work)
    facts = describe(taken)
    sheet = {
        "name": options.name,
        "shape": READERS[options.shape] + (f", {options.type}" if options.shape in TYPED else ""),
        "licence": options.licence,
        "data": facts,
        "left_out": counted(left_out),
        "limits": limits(taken, facts, options.licence, options.limits),
        "files": [{"name": name, "rows": n, "sha256": sums[name]} for name, n in sorted(rows.items())],
    }
    write_json(work / ABOUT, sheet)
    write_atomic(work / PAGE, markdown(sheet).encode())
    write_atomic(work / SUMS, "".join(f"{digest}  {name}\n" for name, digest in tree_hash(work).items()).encode())
    return sheet


def _why_nothing(left_out: write.LeftOut, options: Options) -> str:
    said = [f"{why}: {n}" for why, n in counted(left_out).items()]
    if options.imitated and not options.best:
        said.append("there is no demonstration and no ideal answer; `--best` takes the answers that raters put first")
    return "; ".join(said) or "the source holds no record of this kind"
