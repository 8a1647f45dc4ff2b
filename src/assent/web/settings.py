"""How the service is reached and what it accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from assent.web.language import checked

if TYPE_CHECKING:
    from assent.web.endpoints import Endpoint

LOCAL = ("127.0.0.1", "localhost", "::1")
KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Settings:
    """Settings of one server. `public` is the address people type, where a proxy stands in front of it."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    public: str | None = None
    """Address in the browser, like https://rate.example.org; needed where `host` is not this machine's own."""
    language: str = "en"
    """Language of the screens; the texts that people write are not touched."""
    exports: Path = Path("exports")
    """Folder that snapshots are put in."""
    endpoints: tuple[Endpoint, ...] = ()
    """Models for chats and for sampled answers; from the server's own file alone."""
    body_limit: int = 256 * KIB
    """Bytes a form or an answer may have."""
    upload_limit: int = 32 * MIB
    """Bytes an uploaded file may have."""

    def __post_init__(self) -> None:
        """Raise ConfigError where there is no such language."""
        checked(self.language)

    @property
    def secure(self) -> bool:
        """Whether people come by https, so that cookies are sent over nothing else."""
        return (self.public or "").startswith("https://")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names under which the server answers: others are someone else's page pointed at it."""
        named = urlsplit(self.public).hostname if self.public else None
        return (*LOCAL, self.host, *([named] if named else []))

    @property
    def address(self) -> str:
        """The address to show in links."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return self.public or f"http://{name}:{self.port}"

    def limit(self, path: str) -> int:
        """Most bytes of a body sent to `path`."""
        return self.upload_limit if path in ("/lead/data", "/lead/sample", "/api/v1/groups") else self.body_limit
