"""Data in one piece: frozen snapshots for training, backups of everything, and back again.

A backup is gzipped JSON lines of all rows as of one moment, the same from SQLite and PostgreSQL, so that it also moves
a store from one to the other. Sessions, failed sign-ins and open links stay behind.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, func, insert, select

from assent.core.errors import DataError
from assent.core.hashing import content_id, file_hash
from assent.core.jsonl import write_atomic, write_json, write_records
from assent.feedback import database, guidelines, reads
from assent.feedback.errors import FeedbackError

LEFT_BEHIND = {"sessions", "tokens", "attempts", "invites", "alembic_version"}
BACKUP = "assent feedback backup"
BATCH = 500
PREFERENCES, DEMONSTRATIONS, DATASHEET = "preferences", "demonstrations", "datasheet.json"


def snapshot(db: Connection, folder: Path) -> dict[str, Any]:
    """Write the records of a store; the datasheet. A folder that holds anything is refused."""
    if folder.exists() and any(folder.iterdir()):
        raise FeedbackError("is not empty", where=str(folder), fix="a snapshot is frozen; give it a new folder")
    groups, judgments = reads.groups(db), reads.judgments(db)
    pairs, preferred = reads.ideal_pairs(groups, judgments)
    raters, shown = reads.raters(db), reads.demonstrations(db)
    preferences = folder / PREFERENCES
    if judgments:
        write_records(preferences / "groups.jsonl", [*groups, *pairs])
        write_records(preferences / "judgments.jsonl", [*judgments, *preferred])
        write_records(preferences / "raters.jsonl", raters)
    if shown:
        write_records(folder / DEMONSTRATIONS / "demonstrations.jsonl", shown)
    files = {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.rglob("*.jsonl"))}
    standing = reads.standing(judgments)
    sheet: dict[str, Any] = {
        "snapshot": content_id("snapshot", files),
        "counts": {
            "groups": len(groups),
            "acts": len(judgments),
            "standing": len(standing),
            "outcomes": dict(sorted(Counter(act.outcome for act in standing).items())),
            "raters": len(raters),
            "demonstrations": len(shown),
            "ideal_pairs": len(preferred),
        },
        "guidelines": [
            {"version": g.version, "name": g.name, "judgments": sum(a.guideline == g.version for a in standing)}
            for g in guidelines.history(db)
        ],
        "files": files,
    }
    write_json(folder / DATASHEET, sheet)
    return sheet


def backup(engine: Engine, path: Path) -> dict[str, int]:
    """Write every row as of one moment; rows by table. People go on working meanwhile."""
    counts: dict[str, int] = {}

    def put(target: Path) -> None:
        counts.clear()
        with gzip.open(target, "wt", encoding="utf-8", newline="\n") as file, database.reading(engine) as db:
            total = hashlib.sha256()
            for line in _lines(db, counts):
                total.update(line.encode())
                file.write(line)
            file.write(json.dumps({"rows": counts, "sha256": total.hexdigest()}) + "\n")

    write_atomic(path, put)
    return counts


def _lines(db: Connection, counts: dict[str, int]) -> Iterator[str]:
    yield json.dumps({"kind": BACKUP, "format": 1, "revision": database.revision(db)}) + "\n"
    for table in _tables(db):
        counts[table.name] = 0
        rows = db.execution_options(yield_per=BATCH).execute(select(table).order_by(*table.primary_key.columns))
        for row in rows.mappings():
            counts[table.name] += 1
            yield json.dumps([table.name, dict(row)], ensure_ascii=False) + "\n"


def _tables(db: Connection) -> list[Table]:
    """Tables as the database has them, those that others refer to first."""
    found = MetaData()
    found.reflect(db)
    return [table for table in found.sorted_tables if table.name not in LEFT_BEHIND]


def restore(path: Path, url: str) -> dict[str, int]:
    """Put a backup into a new or empty store, all or nothing; rows by table. Raises DataError, FeedbackError."""
    revision = _check(path)
    engine = database.open_engine(url, create=True, to=revision)
    try:
        with database.writing(engine) as db:
            tables = {table.name: table for table in _tables(db)}
            for table in tables.values():
                if db.execute(select(func.count()).select_from(table)).scalar_one():
                    raise FeedbackError("holds data already", where=database.shown(engine.url), fix="name a new store")
            counts = _insert(db, path, tables)
            _continue_counting(db, tables)
        database.upgrade(engine)
    finally:
        engine.dispose()
    return counts


def _read(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            yield from file
    except FileNotFoundError:
        raise DataError("no such file", where=str(path)) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"is no whole backup ({error})", where=str(path)) from None


def _check(path: Path) -> str:
    """The revision of a backup that is whole. Raises DataError."""
    total, first, last = hashlib.sha256(), None, None
    for line in _read(path):
        if last is not None:
            total.update(last.encode())
        first, last = first or line, line
    try:
        head, tail = json.loads(first or ""), json.loads(last or "")
        whole = head["kind"] == BACKUP and tail["sha256"] == total.hexdigest()
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DataError("is no whole backup", where=str(path), fix="`assent feedback backup` writes one")
    return str(head["revision"])


def _insert(db: Connection, path: Path, tables: dict[str, Table]) -> dict[str, int]:
    counts = dict.fromkeys(tables, 0)
    batch: list[dict[str, Any]] = []
    current = ""
    for line in _read(path):
        found = json.loads(line)
        if not isinstance(found, list):
            continue
        name, row = found
        if batch and (name != current or len(batch) == BATCH):
            db.execute(insert(tables[current]), batch)
            batch = []
        current = name
        batch.append(row)
        counts[name] += 1
    if batch:
        db.execute(insert(tables[current]), batch)
    return counts


def _continue_counting(db: Connection, tables: dict[str, Table]) -> None:
    """PostgreSQL counts rows in sequences of their own, which must go on after the restored ones."""
    if db.dialect.name != "postgresql":
        return
    for name, table in tables.items():
        if "n" in table.columns:
            last = select(func.max(table.c.n)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(f'"{name}"', "n")
            db.execute(select(func.setval(sequence, last)).where(select(table.c.n).exists()))
