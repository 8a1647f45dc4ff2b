"""Hostile text becomes harmless HTML. The same corpus runs in a real browser in test_web_browser.py."""

from __future__ import annotations

import re

import pytest

from assent.web.markdown import to_html

ATTACKS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "<iframe src='javascript:parent.hit=1'></iframe>",
    "<a href='javascript:window.hit=1'>x</a>",
    "[x](javascript:window.hit=1)",
    "[x](JaVaScRiPt:window.hit=1)",
    "[x](&#106;avascript:window.hit=1)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox)",
    '[x](http://a.example/"onmouseover="window.hit=1)',
    "[x](http://a.example 'title\" onclick=\"window.hit=1')",
    "![x](https://tracker.example/pixel.png)",
    "![x][1]\n\n[1]: https://tracker.example/pixel2.png",
    "<https://a.example/<script>window.hit=1</script>>",
    "<javascript:window.hit=1>",
    "```html\n</code></pre><script>window.hit=1</script>\n```",
    '```x" onclick="window.hit=1\ncode\n```',
    "<style>body{background:url(https://tracker.example/s)}</style>",
    "<link rel=stylesheet href=https://tracker.example/c.css>",
    "<meta http-equiv=refresh content='0;url=https://tracker.example'>",
    "<form action=https://tracker.example><input name=csrf></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "| a |\n|---|\n| <img src=x onerror=window.hit=1> |",
    "{{ 7 * 7 }} {% raw %}",
    "</div></section><script>window.hit=1</script>",
    "<!--><script>window.hit=1</script>-->",
    "\x00<script>window.hit=1</script>",
)
BAD = re.compile(
    r"<(script|img|svg|iframe|style|link|meta|form|input|math|base|object)|<[^>]* on\w+\s*=", re.IGNORECASE
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_hostile_is_left(attack: str) -> None:
    made = str(to_html(attack))
    assert not BAD.search(made)
    assert all(re.match(r"https?:|mailto:", href) for href in re.findall(r'href="([^"]*)"', made))


def test_links_show_where_they_lead() -> None:
    made = str(to_html("[your bank](https://evil.example/bank.example) and <mailto:a@b.example>"))
    assert "(evil.example)" in made and "(a@b.example)" in made
    assert made.count('rel="noopener noreferrer nofollow"') == 2


def test_the_host_is_the_one_a_browser_goes_to() -> None:
    assert "(evil.example)" in str(to_html("[x](https://bank.example@evil.example/)"))


@pytest.mark.parametrize(
    "hidden", ["\u200b", "\u202e", "\u2066", "\ufeff", "\u00ad", "&#x202e;", "&#8203;", "\U000e0041"]
)
def test_what_hides_text_is_shown(hidden: str) -> None:
    made = str(to_html(f"pay{hidden}load `co{hidden}de`"))
    assert "⟨U+" in made
    assert not re.search("[\u200b\u202e\u2066\ufeff\u00ad\U000e0041]", made)


def test_ordinary_markdown_looks_as_written() -> None:
    made = str(to_html("# Head\n\n**b** *i* `c`\n\n1. one\n\n| a |\n|---|\n| 1 |\n\n```py\nx < 1\n```"))
    for piece in ("<h1>Head</h1>", "<strong>b</strong>", "<em>i</em>", "<li>one</li>", "<td>1</td>", "x &lt; 1"):
        assert piece in made
