"""Models that the service may ask: OpenAI-compatible endpoints from the server's own file, and a small client.

A key is named by its environment variable and read when it is sent; it stands in no file, message or log of ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from assent.core.errors import AssentError, ConfigError
from assent.core.records import Message

TRIES = 3
TIMEOUT = httpx.Timeout(120.0, connect=10.0)
LONGEST_WAIT = 10.0
"""Seconds: a server that asks for a longer pause is given up."""
MOST_CHARACTERS = 60_000
"""Longest answer that is taken."""
SAID = 200
"""Characters of a server's own message that ours repeats."""


class EndpointError(AssentError):
    """A model that gave no answer. `where` is the endpoint's name: not for the eyes of who is blind."""


class Endpoint(BaseModel):
    """One model behind an address. `url` is the base that ends before `/chat/completions`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[\w.-]{1,40}$")
    """Names it on the lead's pages."""
    url: str
    model: str = Field(min_length=1, max_length=200)
    """The model's name at the server."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; never the key."""
    temperature: float = Field(default=1.0, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=1, le=32768)

    @field_validator("url")
    @classmethod
    def _base(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address like http://127.0.0.1:8080/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no password, query or fragment; name the key's variable in key_env")
        return url.rstrip("/").removesuffix("/chat/completions")

    def source(self, temperature: float | None = None) -> str:
        """What answers name as their source: the model and how it was sampled."""
        warmth = self.temperature if temperature is None else temperature
        return f"{self.model} (temperature {warmth:g}, at most {self.max_tokens} tokens)"


class Reply(NamedTuple):
    """One answer of a model."""

    text: str
    finish: Literal["stop", "length"]


def load(path: Path) -> tuple[Endpoint, ...]:
    """The endpoints of a YAML file: a list of mappings. Raises ConfigError; no value of a key is ever repeated."""
    fix = "a list of {name, url, model, key_env, temperature, max_tokens}"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path), fix=fix) from None
    except yaml.YAMLError as error:
        # The library's own message quotes the line, which may hold what should not be there.
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(f"not valid YAML{line}", where=str(path), fix=fix) from None
    except (ValueError, RecursionError):
        raise ConfigError("not valid YAML", where=str(path), fix=fix) from None
    if not isinstance(raw, list) or not raw:
        raise ConfigError("holds no list of endpoints", where=str(path), fix=fix)
    found = [_endpoint(each, f"{path}: endpoint {number}") for number, each in enumerate(raw, 1)]
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two endpoints are named `{twice[0]}`", where=str(path), fix="give each a name of its own")
    return tuple(found)


def _endpoint(raw: Any, where: str) -> Endpoint:
    try:
        made = Endpoint.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "it"
        why = first["msg"][:1].lower() + first["msg"][1:]
        fix = "key_env is the NAME of an environment variable that holds the key" if key == "key_env" else None
        raise ConfigError(f"`{key}`: {why.removeprefix('value error, ')}", where=where, fix=fix) from None
    if made.key_env and not os.environ.get(made.key_env):
        raise ConfigError(f"the environment variable {made.key_env} is not set", where=where, fix="set it, then start")
    return made


class Client:
    """Asks endpoints; may be used by many threads. `sleep` waits between tries."""

    def __init__(
        self, transport: httpx.BaseTransport | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        # No proxy or netrc of the environment: a key goes to the address of the file and nowhere else.
        self._http = httpx.Client(transport=transport, timeout=TIMEOUT, trust_env=False)
        self._sleep = sleep

    def complete(
        self, endpoint: Endpoint, messages: Sequence[Message], seed: int, temperature: float | None = None
    ) -> Reply:
        """One answer to a conversation. Raises EndpointError after TRIES tries, or at once where a retry is no use."""
        body = {
            "model": endpoint.model,
            "messages": [
                {"role": "user" if each.role == "text" else each.role, "content": each.content} for each in messages
            ],
            "temperature": endpoint.temperature if temperature is None else temperature,
            "max_tokens": endpoint.max_tokens,
            "seed": seed,
        }
        for tried in range(1, TRIES + 1):
            answer, problem = self._post(endpoint, body)
            if answer is not None and answer.is_success:
                return _reply(endpoint, answer)
            wait = _pause(answer, tried)
            if tried == TRIES or wait is None:
                raise EndpointError(f"{problem} ({tried} {'try' if tried == 1 else 'tries'})", where=endpoint.name)
            self._sleep(wait)
        raise AssertionError("not reached")

    def _post(self, endpoint: Endpoint, body: dict[str, Any]) -> tuple[httpx.Response | None, str]:
        """The response, or None where the server could not be reached; and what was wrong, without any key."""
        key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            answer = self._http.post(f"{endpoint.url}/chat/completions", json=body, headers=headers)
        except httpx.TimeoutException:
            # Not asked again: a server that is too slow would only get slower.
            raise EndpointError("no answer in time", where=endpoint.name) from None
        except (httpx.HTTPError, UnicodeError) as error:
            return None, f"cannot be reached: {type(error).__name__}"
        return answer, f"answered {answer.status_code}{_said(answer, key)}"


def _said(answer: httpx.Response, key: str) -> str:
    """The server's own message, short; none of a refused key, which servers like to repeat in part."""
    if answer.status_code in (401, 403):
        return ": the key is not accepted"
    try:
        error = answer.json()["error"]
        message = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return ""
    clean = " ".join(message.split())
    return ": " + (clean.replace(key, "…") if key else clean)[:SAID]


def _pause(answer: httpx.Response | None, tried: int) -> float | None:
    """Seconds to wait before the next try, None where none is worth it."""
    if answer is not None and answer.status_code != 429 and answer.status_code < 500:
        return None
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    if asked.isdecimal():
        return float(asked) if float(asked) <= LONGEST_WAIT else None
    return float(2 ** (tried - 1))


def _reply(endpoint: Endpoint, answer: httpx.Response) -> Reply:
    try:
        choice = answer.json()["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        text, choice = None, {}
    if not isinstance(text, str):
        raise EndpointError("answered in a shape that is not OpenAI's chat completion", where=endpoint.name)
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair fits no database
    if not text.strip():
        raise EndpointError("gave an empty answer", where=endpoint.name)
    if len(text) > MOST_CHARACTERS:
        raise EndpointError(f"gave an answer of more than {MOST_CHARACTERS} characters", where=endpoint.name)
    return Reply(text, "length" if choice.get("finish_reason") == "length" else "stop")
