"""The connection: SQLite in WAL mode or PostgreSQL by URL, and the migrations that make the tables.

On SQLite a writing transaction takes the lock when it begins (BEGIN IMMEDIATE), so that it never fails half-way
for being second; readers never wait. Threads of one process queue for it here: SQLite itself would have them sleep and
try again, in steps of up to 0.1 s. On PostgreSQL transactions are READ COMMITTED: every claim in this room is one
conditional UPDATE, or an INSERT under a unique constraint.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError

from assent.core.hashing import hash_int
from assent.feedback.errors import FeedbackError, Unavailable

BUSY_SECONDS = 30.0
WAL_SECONDS = 0.01
"""Between tries at switching a new file to WAL."""
WRITES, TURN = "assent_writes", "assent_turn"
THREADS = 40
"""Requests that a server works on at once: Starlette's number."""
DEADLOCKS = ("40P01", "40001")
"""PostgreSQL's codes of a transaction that was given up for another one."""
AWAY = ("08", "53", "57", "58")
"""PostgreSQL's classes of errors that lie with the server: no connection, no room, shut down, its disk."""
AWAY_SQLITE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
)
_one_migration = threading.Lock()  # Alembic keeps the migration it runs in module-level names
MIGRATIONS = Path(__file__).parent / "migrations"


def parse(url: str) -> URL:
    """A URL, or a path to a SQLite file. Raises FeedbackError; passwords are never part of a message."""
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        found = make_url(url)
    except ArgumentError:
        raise FeedbackError("is no database URL", where="db", fix="sqlite:///FILE or postgresql://HOST/NAME") from None
    if found.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return found.set(drivername="postgresql+psycopg")
    if found.drivername != "sqlite" or found.database in (None, "", ":memory:"):
        raise FeedbackError(
            "the store lives in a SQLite file or in PostgreSQL",
            where=shown(found),
            fix="sqlite:///FILE or postgresql://HOST/NAME",
        )
    return found


def shown(url: URL) -> str:
    """The URL without its password."""
    return url.render_as_string(hide_password=True)


def connect(url: URL) -> Engine:
    """An engine whose connections have the settings above."""
    if url.drivername != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_use_lifo=True, pool_size=THREADS)
    turn = {TURN: threading.Lock()}
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=THREADS, execution_options=turn)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin by its own rules; `_begin_sqlite` does it
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: Any) -> None:
    """Switch a new file to WAL. For this one lock SQLite does not wait by itself."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(WAL_SECONDS)


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back on an exception."""
    with (
        engine.get_execution_options().get(TURN, nullcontext()),
        engine.execution_options(**{WRITES: True}).begin() as connection,
    ):
        yield connection


@contextmanager
def asking(engine: Engine) -> Iterator[Connection]:
    """For one question, which sees one state anyway: without the two round trips of a transaction around it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads, in which everything is seen as of one moment."""
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**level) as connection, connection.begin():
        yield connection


def was_second(error: DBAPIError) -> bool:
    """Whether another transaction was first, so that the same one may well succeed when run again."""
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in DEADLOCKS


def lock(connection: Connection, *what: str) -> None:
    """One transaction at a time for `what`, until it ends; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(hash_int("lock", *what))))


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest revision of the tables that this version knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found
    return found


def revision(connection: Connection) -> str | None:
    """The revision of the tables in a database, None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(engine: Engine, to: str = "head") -> None:
    """Make the tables, or bring them up to date. Two that do so at once wait for each other."""
    with _one_migration, writing(engine) as connection:
        lock(connection, "migrations")
        command.upgrade(_config(connection), to)


def open_engine(url: str, create: bool, to: str = "head") -> Engine:
    """An engine on a database with current tables. Raises FeedbackError where there are none and `create` is off.

    Parameters: `to`, the revision new tables are made at; older than the newest for an old backup only.
    """
    parsed = parse(url)
    where = shown(parsed)
    if parsed.drivername == "sqlite":
        path = Path(str(parsed.database))
        if not create and not path.is_file():
            raise FeedbackError("no such store", where=where, fix="`assent serve` makes one")
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = connect(parsed)
    try:
        _prepare(engine, where, create, to)
    except DatabaseError as error:
        engine.dispose()
        reason = str(error.orig).splitlines()[0]
        raise FeedbackError(
            f"cannot be opened: {reason}", where=where, fix="check that it runs and may be written"
        ) from None
    except BaseException:
        engine.dispose()
        raise
    event.listen(engine, "handle_error", _tell)
    return engine


def _tell(context: ExceptionContext) -> Unavailable | None:
    """Say `Unavailable` where the database itself is to blame; all else stays what it is."""
    error = context.original_exception
    if isinstance(error, sqlite3.Error):
        away = getattr(error, "sqlite_errorcode", 0) & 0xFF in AWAY_SQLITE
    else:
        state = getattr(error, "sqlstate", None)
        # A connection that was never made has no state.
        away = context.is_disconnect or (state[:2] in AWAY if state else type(error).__name__ == "OperationalError")
    return Unavailable(str(error).splitlines()[0]) if away else None


def _prepare(engine: Engine, where: str, create: bool, to: str) -> None:
    with reading(engine) as connection:
        found = revision(connection)
    newest = head()
    if found == newest:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise FeedbackError("was made by a newer version of assent", where=where, fix="update assent")
    if not create:
        what = "holds no store" if found is None else "has the tables of an older version"
        raise FeedbackError(what, where=where, fix="`assent serve` makes the tables and brings them up to date")
    upgrade(engine, to)
