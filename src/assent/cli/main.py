"""The `assent` command: errors become one message, an exit code, and nothing else."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import nullcontext

import typer

from assent.cli import (
    endpoint,
    feedback,
    feedback_curve,
    feedback_rank,
    feedback_retain,
    frontier,
    look,
    models,
    serve,
    work,
)
from assent.core.console import log
from assent.core.errors import AssentError, Interrupted

app = typer.Typer(
    name="assent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Teach a model what people prefer, then find out what it really learned.",
)
for module in (work, look, models, frontier, endpoint, feedback, feedback_curve, feedback_rank, feedback_retain, serve):
    module.register(app)


FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
PATH = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
)


def main() -> None:
    """Entry point. Exit 0: done; 2: the user can mend it; 130: stopped by the user."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait by spinning for long slow a run tenfold as soon as another process wants a core; threads that
    # sleep at once slow decoding by a third. GNU's OpenMP, which torch brings on Linux, spins this often, then sleeps.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from assent.engine import ranks

            ranks.start()
        _command()
    except AssentError as error:
        head = "[bold]stopped:[/]" if isinstance(error, Interrupted) else "[bold red]error:[/]"
        _say(f"{head} {escape(str(error))}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (*FULL, *PATH):
            raise
        what = (
            f"cannot write {error.filename or 'the output'}" if error.errno in FULL else f"cannot use {error.filename}"
        )
        fix = (
            "free some space, or give another place; what was finished is kept"
            if error.errno in FULL
            else "check the path and who may write there"
        )
        _say(f"[bold red]error:[/] {escape(what)}: {error.strerror}\n  -> {fix}")
        _drop_output()
        sys.exit(2)


def _command() -> None:
    """Run the command. What it printed is flushed here, so that a full disk is an error like any other."""
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        if end.code == Interrupted.exit_code:  # how typer passes on Ctrl-C, without a word
            _say("[bold]stopped:[/] run the same command again to go on; finished steps are kept")
        sys.stdout.flush()
        raise


def _say(message: str) -> None:
    """Print why the command ends; of several ranks that end for one reason, one does."""
    joined = sys.modules.get("assent.engine.ranks")
    with joined.one_voice() if joined else nullcontext():
        log.print(message, soft_wrap=True)


def _drop_output() -> None:
    """Where stdout cannot be written, drop what it still holds, or the interpreter fails on it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def escape(text: str) -> str:
    """Show square brackets of a message as they are."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)
