"""Other people's text as HTML: Markdown without HTML, no images, links that show where they go.

Answers of models and notes of raters are hostile. Three layers, each enough on its own against scripts: the parser
knows no HTML; what it made is cleaned against a short list of tags; the page's policy runs no inline script.

Nor does a short text become a long page. Link definitions are shown as they were written: one long address could be
named a thousand times, and a definition hides what it says. A table is shown as written where it leaves too much out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from assent.report.wording import visible

TAGS = set(re.findall(r"\w+", "p br hr em strong s code pre blockquote ul ol li a span table thead tbody tr th td"))
TAGS |= {f"h{level}" for level in range(1, 7)}
ATTRIBUTES: dict[str, set[str]] = {"*": set(), "a": {"href", "target"}, "ol": {"start"}, "span": {"class"}}
SCHEMES = {"http", "https", "mailto"}
SHORT = 10_000
"""Characters of a text that is remembered at most."""
MOST_FILLED = 2000
"""Cells that the tables of a text may leave out: Markdown fills every row up to the width of its table."""


class _Renderer(RendererHTML):
    """Closes each link with the host it leads to."""

    def link_open(self, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
        env.setdefault("hosts", []).append(str(tokens[i].attrGet("href") or ""))
        tokens[i].attrSet("target", "_blank")
        return self.renderToken(tokens, i, options, env)

    def link_close(self, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
        return f'</a> <span class="host">({_host(env["hosts"].pop())})</span>'


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        return str(escape(parts.hostname or (parts.path if parts.scheme == "mailto" else "this site")))
    except ValueError:  # a bracket that opens no IPv6 address
        return "no valid address"


def _parser(*more: str) -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False}, renderer_cls=_Renderer)
    return made.enable(["strikethrough", *more]).disable(["image", "html_block", "html_inline", "reference"])


_plain, _with_tables = _parser(), _parser("table")


def to_html(text: str) -> Markup:
    """Sanitised HTML of a Markdown text; characters that hide or reorder text are shown as U+XXXX."""
    return _remembered(text) if len(text) <= SHORT else _made(text)


@lru_cache(maxsize=512)
def _remembered(text: str) -> Markup:
    """Half of the time of handing out an item goes into its texts, and each is shown to several people soon."""
    return _made(text)


def _left_out(text: str) -> int:
    """At most how many cells the tables of a text leave out: none goes on beyond an empty line."""
    parts = re.split(r"\n(?:[ \t]*\n)+", re.sub(r"\r\n?", "\n", text).strip("\n"))
    pipes = [[line.count("|") for line in part.split("\n")] for part in parts]
    return sum(max(part) * len(part) - sum(part) for part in pipes)


def _made(text: str) -> Markup:
    parser = _with_tables if _left_out(text) <= MOST_FILLED else _plain
    clean = nh3.clean(
        parser.render(text, {}),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(visible(clean))
