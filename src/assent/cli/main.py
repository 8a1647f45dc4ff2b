"""The `assent` command: errors become one message, an exit code, and nothing else."""

from __future__ import annotations

import errno
import os
import sys

import typer

from assent.cli import look, models, work
from assent.core.console import log
from assent.core.errors import AssentError

app = typer.Typer(name="assent", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Teach a model what people prefer, then find out what it really learned.")
for module in (work, look, models):
    module.register(app)


def main() -> None:
    """Entry point. Exit 0: done; 2: the user can mend it; 130: stopped by the user."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(standalone_mode=True)
    except AssentError as error:
        log.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        log.print("[bold]stopped[/]: run the same command again to go on; finished steps are kept")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO):
            raise
        where = f" {error.filename}" if error.filename else ""
        log.print(f"[bold red]error:[/] cannot write{where}: {error.strerror}\n  -> free some space or give another --out; "
                  "what was finished is kept", soft_wrap=True)
        sys.exit(2)


def escape(text: str) -> str:
    """Show square brackets of a message as they are."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)
