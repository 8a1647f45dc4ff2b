"""`assent serve`: the rating screens and the lead's pages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from assent.core.console import log, out
from assent.core.errors import ConfigError

if TYPE_CHECKING:
    from assent.feedback.store import Store


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(serve)


def serve(
    db: Annotated[
        str | None,
        typer.Option(
            help="Where the project lives: a SQLite file (feedback.db), or a postgresql:// URL.", envvar="ASSENT_DB"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than 127.0.0.1 need --public.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    public: Annotated[
        str | None,
        typer.Option(help="Address in the browser where a proxy stands in front, like https://rate.example.org"),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the screens: en, de.")] = "en",
    exports: Annotated[Path, typer.Option(help="Folder for snapshots.")] = Path("exports"),
    endpoints: Annotated[
        Path | None, typer.Option(help="YAML file of models to chat with and to sample answers from.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A filled project to look at, with simulated raters; kept nowhere.")
    ] = False,
) -> None:
    """Collect judgments from people; the first start prints a one-time link for the lead."""
    import uvicorn

    from assent.config.steps import FEEDBACK
    from assent.web import demo_models
    from assent.web import endpoints as models
    from assent.web.app import create_app
    from assent.web.settings import Settings

    public = checked(public)
    _refuse(host, public, demo, bool(db or endpoints))
    asked = demo_models.ENDPOINTS if demo else models.load(endpoints) if endpoints else ()
    with suppress(KeyboardInterrupt), ExitStack() as held:  # Ctrl-C is the ordinary end
        db = db or FEEDBACK
        if demo:
            folder = Path(held.enter_context(TemporaryDirectory(prefix="assent-demo-")))
            db, exports = str(folder / "demo.db"), folder / "exports"
        settings = Settings(host=host, port=port, public=public, language=language, exports=exports, endpoints=asked)
        listener = held.enter_context(_listening(host, port))
        store = held.enter_context(_demo(db) if demo else _project(db, settings.address))
        log.print(f"Serving {settings.address} from {_shown(db)}. Ctrl-C stops.", soft_wrap=True, markup=False)
        # No access log: links of invites must not end up in files.
        app = create_app(store, settings, demo_models.client() if demo else None)
        # Failed sign-ins count by address: X-Forwarded-For is believed of a proxy, and where none stands of nobody.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", proxy_headers=public is not None
        )
        uvicorn.Server(config).run(sockets=[listener])


def _refuse(host: str, public: str | None, demo: bool, own: bool) -> None:
    """Refuse what would not be safe, or would be ignored. `own`: a project or models are named. Raises ConfigError."""
    from assent.web.settings import LOCAL

    if host not in LOCAL and not public:
        raise ConfigError(
            f"listening on {host} lets others in, and passwords need https",
            where="--host",
            fix="put a TLS proxy in front and give its address with --public https://...",
        )
    if demo and (host not in LOCAL or public):
        raise ConfigError("shows one password to whoever sees this terminal", where="--demo", fix="leave --host out")
    if demo and own:
        raise ConfigError("shows a project and models of its own", where="--demo", fix="leave --db and --endpoints out")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: on other sockets asyncio does not set TCP_NODELAY, and each answer waits 40 ms for the client.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"cannot listen there: {reason}", where=f"{host}:{port}", fix="take another --port"
            ) from None
        yield listener


@contextmanager
def _project(db: str, address: str) -> Iterator[Store]:
    """The store, with the lead's link said where nobody leads yet."""
    from assent.feedback.records import Role
    from assent.feedback.store import Store

    with Store.open(db, create=True) as store:
        if not store.has_lead():
            out.print("No lead yet. This link makes the account, once; it is not kept anywhere:", soft_wrap=True)
            out.print(f"  {address}/join/{store.invite(Role.lead, None)}", soft_wrap=True, markup=False)
        yield store


@contextmanager
def _demo(db: str) -> Iterator[Store]:
    """A filled store and how to get in; the password is drawn anew at each start."""
    import secrets
    import time

    from assent.feedback.demo import LEAD, RATERS, REVIEWER, DemoClock, fill
    from assent.feedback.store import Store

    clock, password = DemoClock(time.time), secrets.token_urlsafe(9)
    with Store.open(db, create=True, clock=clock) as store:
        log.print("Filling a project with a week of simulated work ...")
        fill(store, clock, password)
        out.print(f"Sign in as {LEAD} (leads), {REVIEWER} (reviews) or {RATERS[0].name} (judges).")
        out.print(f"Password of all of them: {password}", markup=False)
        yield store


def _shown(db: str) -> str:
    from assent.feedback.database import parse, shown

    return shown(parse(db))


def checked(public: str | None) -> str | None:
    """The public address as browsers send it in `Origin`. Raises ConfigError."""
    from urllib.parse import urlsplit

    from assent.web.settings import LOCAL

    if public is None:
        return None
    parts = urlsplit(public)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ConfigError(f"{public} is no address", where="--public", fix="like https://rate.example.org")
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise ConfigError("passwords would travel in clear", where="--public", fix="use https")
    return f"{parts.scheme}://{parts.netloc}".lower()
