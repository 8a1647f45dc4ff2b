"""Templates: strict, escaping, characters that hide text made visible; and what every page shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from assent.feedback.records import Role
from assent.report.wording import duration, visible
from assent.stats.bootstrap import Interval
from assent.web import words
from assent.web.auth import VISIT, csrf_token, set_cookie
from assent.web.language import gettext as _
from assent.web.language import ngettext, noted, pgettext, said
from assent.web.markdown import to_html

MENU = {
    noted("Work"): (
        (Role.rater, "/rate", noted("Judge")),
        (Role.rater, "/chat", noted("Chat")),
        (Role.rater, "/work", noted("My work")),
        (Role.rater, "/guideline", noted("Guideline")),
    ),
    noted("Review"): (
        (Role.reviewer, "/lead", noted("Now")),
        (Role.reviewer, "/lead/quality", noted("Quality")),
        (Role.reviewer, "/lead/adjudicate", noted("Adjudicate")),
        (Role.reviewer, "/lead/contests", noted("Contested")),
    ),
    noted("Project"): (
        (Role.lead, "/lead/queue", noted("Queue")),
        (Role.lead, "/lead/data", noted("Data")),
        (Role.lead, "/lead/sample", noted("Sample")),
        (Role.lead, "/lead/gold", noted("Quiz")),
        (Role.lead, "/lead/guidelines", noted("Guidelines")),
        (Role.lead, "/lead/export", noted("Export")),
    ),
    noted("Team"): (
        (Role.lead, "/lead/people", noted("People")),
        (Role.lead, "/lead/pool", noted("Pool")),
        (Role.lead, "/lead/access", noted("Access")),
        (Role.lead, "/lead/audit", noted("Audit log")),
    ),
}
NEED_MODELS = ("/chat", "/lead/sample")
"""Pages that the menu offers only where the server has endpoints."""


def _finalize(value: object) -> object:
    """Every text that enters a page passes here; markup of our own is left as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def when(seconds: float) -> str:
    """A Unix time as date and time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _interval(value: Interval | None, percent: bool = False) -> str:
    if value is None:
        return _("not enough data")
    low, high = (f"{100 * x:.0f}" if percent else f"{x:.2f}" for x in (value.low, value.high))
    unit = " %" if percent else ""
    text = _("{low} to {high}{unit}, n {n} in {prompts} prompts")
    return text.format(low=low, high=high, unit=unit, n=value.rows, prompts=value.n)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("assent.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(markdown=to_html, when=when, duration=duration, interval=_interval)
    made.globals.update(words=words, said=said)
    made.add_extension("jinja2.ext.i18n")
    made.install_gettext_callables(_, ngettext, newstyle=True, pgettext=pgettext)  # type: ignore[attr-defined]  # ours
    return made


TEMPLATES = _environment()


Row = tuple[str, list[tuple[str, str, str]]]
"""A row of the menu: its name, and its links as target, label and aria-current."""


def _menu(role: Role, path: str, hidden: tuple[str, ...]) -> list[Row]:
    """The groups, then the pages of the group `path` is in. Who has one group sees its pages alone, on every page."""
    groups = {
        group: [(to, _(label)) for least, to, label in pages if role.covers(least) and to not in hidden]
        for group, pages in MENU.items()
    }
    groups = {group: pages for group, pages in groups.items() if pages}
    targets = [to for pages in groups.values() for to, _label in pages]
    here = max((to for to in targets if f"{path}/".startswith(f"{to}/")), key=len, default="")
    rows: list[Row] = []
    if len(groups) > 1:
        links = [(pages[0][0], _(name), "true" if here in dict(pages) else "") for name, pages in groups.items()]
        rows.append((_("Pages"), links))
    for name, pages in groups.items():
        if here in dict(pages) or len(groups) == 1:
            now = "page" if here == path else "true"
            rows.append((_(name), [(to, label, now if to == here else "") for to, label in pages]))
    return rows


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, with the menu of whoever is signed in and the token its forms need."""
    person = getattr(request.state, "person", None)
    token = csrf_token(request)
    hidden = () if request.app.state.settings.endpoints else NEED_MODELS
    menu = _menu(person.role, request.url.path, hidden) if person else []
    language = request.app.state.settings.language
    base = {"person": person, "csrf": token, "menu": menu, "language": language}
    response = HTMLResponse(TEMPLATES.get_template(template).render(**base, **values), status)
    if visit := getattr(request.state, "visit", None):
        set_cookie(response, VISIT, visit, request.app.state.settings)
    return response
