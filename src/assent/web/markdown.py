"""Other people's text as HTML: Markdown without HTML, no images, links that show where they go.

Answers of models and notes of raters are hostile. Three layers, each enough on its own against scripts: the parser
knows no HTML; what it made is cleaned against a short list of tags; the page's policy runs no inline script.
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


_parser = MarkdownIt("commonmark", {"html": False, "linkify": False}, renderer_cls=_Renderer)
_parser.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline"])


def to_html(text: str) -> Markup:
    """Sanitised HTML of a Markdown text; characters that hide or reorder text are shown as U+XXXX."""
    return _remembered(text) if len(text) <= SHORT else _made(text)


@lru_cache(maxsize=512)
def _remembered(text: str) -> Markup:
    """Half of the time of handing out an item goes into its texts, and each is shown to several people soon."""
    return _made(text)


def _made(text: str) -> Markup:
    clean = nh3.clean(
        _parser.render(text, {}),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(visible(clean))
