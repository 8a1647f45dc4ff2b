"""What an endpoint allows: who may ask, how much at once, how long."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Limits of an endpoint. `api_key` None: anyone who reaches it may ask, so it must listen on this machine only."""

    api_key: str | None = field(default=None, repr=False)
    """What a request must carry as `Authorization: Bearer KEY`."""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    """Without a key, names under which the endpoint may be asked: a page in a browser that gives its own name to
    this machine's address (DNS rebinding) is turned away."""
    max_tokens: int = 1024
    """Longest answer that may be asked for, and the default of a chat."""
    max_n: int = 16
    """Most answers to one prompt."""
    max_answers: int = 64
    """Most answers of one request, and of one batch."""
    max_waiting: int = 256
    """Most answers that wait; a request beyond them is turned away with 429."""
    max_body: int = 2**20
    """Longest body of a request, in bytes."""
    token_budget: int = 16384
    """Most tokens in one forward pass; bounds the memory."""
    gather: float = 0.01
    """Seconds that a batch waits for more requests, so that those sent together are answered together."""
