"""The command that serves a model to other programs: endpoint."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assent.cli.models import Model, folder_of
from assent.core.console import log
from assent.core.errors import ConfigError

if TYPE_CHECKING:
    from assent.engine.generate import LocalGenerator

KEY = "ASSENT_API_KEY"
"""Environment variable with the key."""
SHORTEST_KEY = 16
GRACE = 5
"""Seconds that answers which are being written may go on after Ctrl-C."""


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(endpoint)


def endpoint(
    model: Model,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than this machine's own, a key is required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8001,
    name: Annotated[str | None, typer.Option("--name", help="What requests call the model; default: MODEL.")] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", help=f"File with the key that requests must carry; default: {KEY}, if set."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Longest answer a request may ask for.")
    ] = 1024,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Most answers written at once, and asked for in one request.")
    ] = 64,
) -> None:
    """Serve a model to programs that speak OpenAI's protocol: chat and text completions, streamed or whole."""
    key = _key(api_key_file)
    if key is None and not _loopback(host):
        raise ConfigError(
            "whoever reaches this address could use the model: a key is required",
            where=f"--host {host}",
            fix=f"give --api-key-file FILE, or set {KEY}",
        )
    with _listen(host, port) as listener:
        _serve(listener, _generator(model, name or model), key, max_tokens, batch)


def _serve(listener: socket.socket, generator: LocalGenerator, key: str | None, max_tokens: int, batch: int) -> None:
    """Answer on the open port until Ctrl-C."""
    import uvicorn

    from assent.serving import Settings, create_app

    settings = Settings(api_key=key, max_tokens=max_tokens, max_answers=batch, max_n=min(batch, Settings.max_n))
    app = create_app(generator, settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE))
    log.print(f"`{generator.source}` at {_address(listener)}/v1; Ctrl-C ends it", markup=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _generator(model: str, name: str) -> LocalGenerator:
    from assent.config.blocks import Sampling
    from assent.engine.generate import LocalGenerator
    from assent.models.load import load_policy, load_tokenizer

    folder = folder_of(model)
    return LocalGenerator(load_policy(folder), load_tokenizer(folder), name, Sampling())


def _key(file: Path | None) -> str | None:
    """The key in the file, else in the environment; None where there is neither."""
    key = os.environ.get(KEY) if file is None else file.read_text(encoding="utf-8", errors="replace").strip()
    if key is None:
        return None
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"is no key: at least {SHORTEST_KEY} ASCII letters, digits and signs, without blanks",
            where=KEY if file is None else str(file),
            fix="make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return key


def _loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """The open port. Taken before the model is loaded, so that a busy one is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on port {port}: {error.strerror or error}",
            where=f"--host {host}",
            fix="end what uses it, or give another --port",
        ) from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
