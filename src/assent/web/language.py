"""The language of the screens: one per service, read from a gettext catalogue when the service starts.

    _("Sign out")              # a text of ours, in the language of the service that answers
    said("no such guideline")  # what an error says: written in English where it is raised, with its values in it

Codes in the data stay as they are, and so does what people wrote.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.types import ASGIApp, Receive, Scope, Send

from assent.core.errors import ConfigError

LOCALES = Path(__file__).parent / "locales"
SOURCE = "en"
"""The language that the texts stand in."""
VALUE = re.compile(r"\{(\d+)\}")
"""Place of a value in what an error says."""


@dataclass(frozen=True)
class Language:
    """A language of the screens. `sentences`: what errors with values say, as a pattern, and the same in it."""

    code: str
    texts: NullTranslations
    sentences: tuple[tuple[re.Pattern[str], str], ...] = ()


ENGLISH = Language(SOURCE, NullTranslations())
_SPOKEN: ContextVar[Language] = ContextVar("language", default=ENGLISH)


def languages() -> list[str]:
    """Codes of the languages there are."""
    return sorted({SOURCE, *(path.parts[-3] for path in LOCALES.glob("*/LC_MESSAGES/messages.po"))})


def checked(code: str) -> str:
    """The code of a language there is. Raises ConfigError."""
    if code not in languages():
        raise ConfigError(f"there is no `{code}`", where="--language", fix=f"choose one of: {', '.join(languages())}")
    return code


def load(code: str) -> Language:
    """A language by its code. Raises ConfigError."""
    if checked(code) == SOURCE:
        return ENGLISH
    with (LOCALES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return of(code, read_po(file, locale=code))


def of(code: str, catalogue: Catalog) -> Language:
    """The language of a catalogue."""
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    known = {str(each.id): str(each.string) for each in catalogue if each.id and each.string}
    # The longest first: it says most of what it stands for.
    ids = sorted((id for id in known if VALUE.search(id)), key=len, reverse=True)
    return Language(code, GNUTranslations(compiled), tuple((_pattern(id), known[id]) for id in ids))


def _pattern(id: str) -> re.Pattern[str]:
    parts = VALUE.split(id)
    return re.compile("".join("(.*?)" if n % 2 else re.escape(part) for n, part in enumerate(parts)), re.DOTALL)


def gettext(text: str) -> str:
    """A text of ours in the language of the service."""
    return _SPOKEN.get().texts.gettext(text) if text else text


def pgettext(context: str, text: str) -> str:
    """The same, of a text that has several meanings."""
    return _SPOKEN.get().texts.pgettext(context, text)


def ngettext(one: str, many: str, n: int) -> str:
    """The same, of a text that depends on a number."""
    return _SPOKEN.get().texts.ngettext(one, many, n)


def noted(text: str) -> str:
    """A text that is looked up later, where it is shown."""
    return text


def said(text: str) -> str:
    """What an error says, in the language of the service; in English where the catalogue does not know it.

    Values in it that are texts of ours, like the label of a field or what another error said, are looked up too.
    """
    if (exact := gettext(text)) != text:
        return exact
    for pattern, there in _SPOKEN.get().sentences:
        if found := pattern.fullmatch(text):
            values = found.groups()
            return VALUE.sub(lambda place: said(values[int(place[1]) - 1]), there)  # noqa: B023  # used at once
    return text


class Spoken:
    """Middleware around the whole app: everything that answers a request speaks `language`."""

    def __init__(self, app: ASGIApp, language: Language) -> None:
        self.app, self.language = app, language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        before = _SPOKEN.set(self.language)
        try:
            await self.app(scope, receive, send)
        finally:
            _SPOKEN.reset(before)
