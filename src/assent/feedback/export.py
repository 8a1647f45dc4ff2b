"""Feedback as a folder that other tools read, with datasheet and checksums; the whole folder or none.

FOLDER/train.jsonl ...    rows (`formats.write`), or groups.jsonl ... for our own records
FOLDER/datasheet.json     and DATASHEET.md: what it is, from whom, what was left out and why
FOLDER/SHA256SUMS         of every other file, as `sha256sum -c` reads them
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assent.core.errors import DataError
from assent.core.hashing import tree_hash
from assent.core.jsonl import write_atomic, write_json
from assent.feedback import reads
from assent.feedback.export_datasheet import counted, describe, limits, markdown
from assent.feedback.export_filters import Sides, divide, select
from assent.feedback.export_options import READERS, SUFFIXES, TYPED, Options
from assent.feedback.store import Store
from assent.formats import write, write_files
from assent.formats.feedback import Feedback
from assent.formats.load import ABOUT
from assent.formats.preferences import is_blank

LOST_TAGS = "tags that are no columns (name taken, no scalar, mixed kinds)"
PAGE, SUMS = "DATASHEET.md", "SHA256SUMS"


@dataclass(frozen=True)
class Plan:
    """What an export would hold. Nothing of it is written yet."""

    taken: Feedback
    """What the filters take."""
    sides: Sides
    files: write_files.Files
    left_out: write.LeftOut


def everything(store: Store) -> Feedback:
    """What an export of a store begins with, as of one moment."""
    return store.read(
        lambda db: Feedback(reads.groups(db), reads.judgments(db), reads.raters(db), reads.demonstrations(db))
    )


def plan(feedback: Feedback, options: Options) -> Plan:
    """Filter, split, and make the rows. Raises DataError, ConfigError for options that cannot be used."""
    options.check()
    left_out: write.LeftOut = Counter()
    taken = select(feedback, options.filters, left_out)
    sides = divide(taken, options.split, left_out)
    files: dict[str, Sequence[Any]] = {}
    for stem, side in (("train", sides.train), ("test", sides.test)):
        files |= _files(stem, side, options, left_out)
    return Plan(taken, sides, files, left_out)


def export(feedback: Feedback, folder: Path, options: Options) -> dict[str, Any]:
    """Write `folder`, which must not be there yet; returns its datasheet. Raises DataError where nothing is left."""
    if folder.exists():
        raise DataError("is there already and is not overwritten", where=str(folder), fix="give another folder")
    made = plan(feedback, options)
    if not made.files:
        raise DataError("nothing is left to export", fix=_why_nothing(made.left_out, options))
    work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    try:
        write_files.write(work, made.files)
        sheet = _sheet(work, made, options)
        work.replace(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return sheet


def _files(stem: str, side: Feedback, options: Options, left_out: write.LeftOut) -> write_files.Files:
    """The files of one side."""
    if options.shape == "native":
        below = f"{stem}/" if options.split.any() else ""
        return {below + name: records for name, records in write_files.of_records(side).items()}
    typed = options.shape in TYPED
    rows = list(_rows(side, options, left_out))
    if typed and (lost := write_files.lost_tags(prompt for prompt, _ in rows)):
        left_out[f"{LOST_TAGS}: {', '.join(sorted(lost))}"] += len(lost)
    return write_files.of_rows(stem, rows, SUFFIXES.get(options.shape, ".jsonl"), tags=typed)


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


def _sheet(work: Path, made: Plan, options: Options) -> dict[str, Any]:
    sums, facts = tree_hash(work), describe(made.taken)
    sheet = {
        "name": options.name,
        "shape": READERS[options.shape] + (f", {options.type}" if options.shape in TYPED else ""),
        "licence": options.licence,
        "data": facts,
        "left_out": counted(made.left_out),
        "limits": limits(made.taken, facts, options.licence, options.limits),
        "files": [{"name": name, "rows": len(rows), "sha256": sums[name]} for name, rows in sorted(made.files.items())],
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
