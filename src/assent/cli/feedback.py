"""Commands on people's judgments: feedback export, import, backup, restore, stats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assent.core.console import log, out
from assent.core.errors import DataError

if TYPE_CHECKING:
    from assent.formats.feedback import Feedback

SHAPES = ("trl", "hh", "openai", "chat", "native", "parquet", "csv")
TYPES = ("preference", "completion", "unpaired")
STORES = (".db", ".sqlite", ".sqlite3")
SOURCE = "A finished `collect` step (runs/demo/collect), a file or folder of preferences, or a store's URL or .db file."
feedback = typer.Typer(no_args_is_help=True, help="People's judgments: export, import, backup, restore, stats.")

Source = Annotated[str, typer.Argument(help=SOURCE)]
Store = Annotated[str, typer.Option("--db", help="The store: sqlite:///FILE, a .db file, or postgresql://HOST/NAME.")]
Many = list[str] | None


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(feedback, name="feedback")


@feedback.command("export")
def export_(
    source: Source,
    to: Annotated[Path, typer.Option("--to", help="Folder to make; one that exists is not overwritten.")],
    shape: Annotated[str, typer.Option("--as", help=f"One of {', '.join(SHAPES)}.")],
    rows: Annotated[
        str, typer.Option("--type", help=f"Rows of trl, parquet and csv: {', '.join(TYPES)}.")
    ] = "preference",
    per: Annotated[
        str, typer.Option("--rows", help="A row per `judgment`, or per `pair` with all votes.")
    ] = "judgment",
    margin: Annotated[
        str, typer.Option(help="Column margin: `given` by the source, or the rater's `strength`.")
    ] = "given",
    best: Annotated[bool, typer.Option("--best", help="Answers that raters put first are answers to imitate.")] = False,
    guideline: Annotated[Many, typer.Option(help="Only this guideline version, or `none`; repeatable.")] = None,
    agreement: Annotated[
        Many, typer.Option(help="Only groups: single, unanimous, majority, split; repeatable.")
    ] = None,
    rater: Annotated[Many, typer.Option(help="Only this rater; repeatable.")] = None,
    kind: Annotated[Many, typer.Option(help="Only raters: human, model, rule, simulated, unknown; repeatable.")] = None,
    outcome: Annotated[Many, typer.Option(help="Only ranked, both_bad or skip; repeatable.")] = None,
    checks: Annotated[
        bool, typer.Option("--with-checks", help="Gold items and repeats too (native has them).")
    ] = False,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of prompts for the test side.")] = 0.0,
    held_out_raters: Annotated[float, typer.Option(min=0, max=0.9, help="Share of rater groups for it.")] = 0.0,
    rater_group: Annotated[str, typer.Option(help="Attribute that makes a group of raters, or `id`.")] = "id",
    licence: Annotated[str | None, typer.Option(help="Licence to state in the datasheet.")] = None,
    limit: Annotated[Many, typer.Option(help="A limit to state in the datasheet; repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data; default: the folder's.")] = None,
) -> None:
    """Judgments as a folder that other tools read, with datasheet and checksums."""
    from assent.feedback.export import export
    from assent.feedback.export_filters import Filters, Split
    from assent.feedback.export_options import Options

    options: dict[str, Any] = {"shape": shape, "type": rows, "per": per, "margin": margin, "best": best}
    wanted = Options(
        **options,
        filters=Filters(
            guidelines=frozenset(guideline or ()),
            agreement=frozenset(agreement or ()),
            raters=frozenset(rater or ()),
            kinds=frozenset(kind or ()),
            outcomes=frozenset(outcome or ()),
            checks=checks or shape == "native",
        ),
        split=Split(held_out, held_out_raters, rater_group),
        licence=licence,
        limits=tuple(limit or ()),
        name=name or to.name,
    )
    wanted.check()
    if to.exists():
        raise DataError("is there already and is not overwritten", where=str(to), fix="give another folder")
    _show(to, export(_read(source), to, wanted))


def _show(to: Path, sheet: dict[str, Any]) -> None:
    """What was written, and what was left out."""
    for file in sheet["files"]:
        out.print(f"{to / file['name']}  {file['rows']} rows", markup=False, soft_wrap=True)
    for why, count in sheet["left_out"].items():
        log.print(f"left out: {count} ({why})", markup=False, soft_wrap=True)
    log.print(f"{to / 'DATASHEET.md'} says what it is; {to / 'SHA256SUMS'} checks it", markup=False, soft_wrap=True)


@feedback.command("stats")
def stats(source: Source) -> None:
    """Agreement, alpha with its band, shares and biases, and a table of raters with n everywhere."""
    from assent.feedback.export_datasheet import describe, figures
    from assent.feedback.export_raters import HEAD, NOTE, raters

    found = _read(source)
    if not found.judgments:
        raise DataError("holds no judgment", where=source, fix="stats are of judgments; collect some first")
    _columns(figures(describe(found)))
    out.print()
    _columns([HEAD, *(line.cells() for line in raters(found))])
    log.print(NOTE, markup=False, soft_wrap=True)


@feedback.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, folder or hub id of any shape that is read.")],
    db: Store,
    overlap: Annotated[int, typer.Option(min=1, max=100, help="How many raters judge each item.")] = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Ask about groups that the file has judgments of too.")
    ] = False,
) -> None:
    """Put judgments in a store, and prompts and answers without one in its queue; the whole file or nothing."""
    from assent.feedback.intake import plan
    from assent.formats.personal import count, texts_of

    found = _read(file)
    work = plan(found, again)
    for kind, texts in count(texts_of(found)).items():
        log.print(f"hint: {texts} texts hold what looks like {kind}; may raters see them?", markup=False)
    with _store(db) as store:
        if found.judgments:
            judged = {judgment.group for judgment in found.judgments}
            added = store.add_judgments([g for g in found.groups if g.id in judged], found.judgments, found.raters)
            out.print(f"judgments: {added['judgments']} added of {len(found.judgments)}", markup=False)
        for kind, groups in work.items():
            counts = store.add_groups(groups, kind, overlap=overlap)
            out.print(f"{kind}: {counts['added']} items added, {counts['known']} known", markup=False)
    if found.demonstrations:
        log.print(f"{len(found.demonstrations)} demonstrations stay in the file: `sft` reads it as it is", markup=False)


@feedback.command("backup")
def backup(db: Store, to: Annotated[Path, typer.Option("--to", help="File to make, FILE.jsonl.gz.")]) -> None:
    """Everything in a store as of one moment, while people go on working."""
    if to.exists():
        raise DataError("is there already and is not overwritten", where=str(to), fix="give another file")
    with _store(db) as store:
        rows = store.backup(to)
    out.print(f"{to}  {sum(rows.values())} rows of {len(rows)} tables", markup=False, soft_wrap=True)


@feedback.command("restore")
def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.")], db: Store) -> None:
    """A backup into a new store, on either database, all or nothing."""
    from assent.feedback.store import Store as Opened

    rows = Opened.restore(file, db)
    out.print(f"{sum(rows.values())} rows restored; people sign in again", markup=False)


def _read(source: str) -> Feedback:
    """Everything in a store, or in files."""
    from assent.formats.feedback import read_feedback

    if not _is_store(source):
        return read_feedback(source)
    from assent.feedback.export import everything

    with _store(source) as store:
        return everything(store)


def _is_store(source: str) -> bool:
    return "://" in source or Path(source).suffix.lower() in STORES


def _store(url: str) -> Any:
    from assent.feedback.store import Store as Opened

    return Opened.open(url)


def _columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table as wide as it is: ids are to be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), markup=False, soft_wrap=True)
