"""Every screen, light and dark, on a desk and on a phone, has no fault that axe knows against WCAG 2.2 A and AA."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assent.feedback.demo import LEAD, RATERS, REVIEWER
from assent.web.page import MENU
from browser_tools import ITEM, expect
from web_tools import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
AXE = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed").AXE_SCRIPT
SCRIPT = Path(__file__).parent.parent / "scripts/screens.py"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS: list[tuple[Any, int]] = [("light", 1100), ("dark", 360)]
"""Colours and width. Two of four are enough: no colour hangs on the width, and nothing else hangs on the colours."""
OPEN = """() => {
    for (const part of document.querySelectorAll("details")) part.open = true;
    for (const row of document.querySelectorAll("tbody tr:nth-child(n+4), ul.rows li:nth-child(n+4)")) row.remove();
}"""
"""What is folded is looked at too; of rows that come from one line of a template the first three are enough."""
RUN = """rules => axe.run({runOnly: rules, resultTypes: ["violations"]}).then(found => found.violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id} at ${node.target.join(" ")}: ${node.failureSummary}`)))"""
MORE = ("/no-such-page", "/lead/gold/item?item=1", "/lead/gold/pick", "/lead/queue/reask")
CURVE = "/lead/quality?measured=500+0.61+300%0A1000+0.64+300%0A2000+0.66+300%0A4000+0.675+300"


@pytest.fixture(scope="module")
def screens() -> Any:
    """The script that draws the screens."""
    spec = importlib.util.spec_from_file_location("screens", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo(screens: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with screens.service(tmp_path_factory.mktemp("demo")) as made:
        yield made


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    made = browser.new_page()
    made.set_default_timeout(60_000)
    return made


def faults(page: Page) -> list[str]:
    """What axe finds in each look. It comes in by the debugger: the page's own policy stays as it is."""
    assert page.locator("main").count() == 1, page.content()  # a page of ours, and not a failure of the server
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    page.evaluate(OPEN)
    found = []
    for scheme, width in LOOKS:
        page.set_viewport_size({"width": width, "height": 760})
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}, {width} px: {each}" for each in page.evaluate(RUN, WCAG)]
    return found


@pytest.mark.parametrize("who", ["nobody", "rater", "newcomer", "lead"])
def test_screens_of_the_pictures(who: str, screens: Any, demo: Any, page: Page) -> None:
    found = [f"{name}, {each}" for name in screens.PEOPLE[who](page, demo) for each in faults(page)]
    assert not found, "\n".join(found)


def test_other_screens(screens: Any, demo: Any, page: Page) -> None:
    found = [f"{name}, {each}" for name in others(screens, demo, page) for each in faults(page)]
    assert not found, "\n".join(found)


def test_the_menu_by_keyboard_on_a_phone(screens: Any, demo: Any, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    screens.sign_in(page, demo, LEAD)
    for group, pages in MENU.items():
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=group, exact=True).press("Enter")
        row = page.get_by_role("navigation", name=group)
        expect(row.locator("[aria-current=page]")).to_have_attribute("href", pages[0][1])
        links = {path: label for _, path, label in pages}
        assert {link.get_attribute("href"): link.inner_text() for link in row.get_by_role("link").all()} == links
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.goto(f"{demo.address}/lead/queue/reask")  # a page below another
    current = page.locator("header [aria-current]")
    assert [(link.inner_text(), link.get_attribute("aria-current")) for link in current.all()] == [
        ("Project", "true"),
        ("Queue", "true"),
    ]
    screens.sign_in(page, demo, RATERS[0].name)
    assert page.get_by_role("navigation").count() == 1


def others(screens: Any, demo: Any, page: Page) -> Iterator[str]:
    """Errors, dialogs, and what comes after a form."""
    page.context.clear_cookies()
    page.goto(f"{demo.address}/join/none")
    yield "error"
    (lead,) = [person for person in demo.store.people() if person.name == LEAD]
    page.goto(f"{demo.address}/reset/{demo.store.reset_link(lead.id, lead.id)}")
    yield "reset"
    screens.sign_in(page, demo, RATERS[1].name)
    page.goto(f"{demo.address}/rate")
    page.wait_for_selector(ITEM)
    page.keyboard.press("g")
    yield "guideline beside the item"
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('break').showModal()")
    yield "break"
    page.goto(f"{demo.address}/chat")
    page.check("[value=red_team]")
    page.click("#start button.main")
    page.wait_for_selector("#red:visible")
    yield "red team"
    screens.sign_in(page, demo, REVIEWER)
    yield "reviewer"
    screens.sign_in(page, demo, LEAD)
    for path in (*MORE, CURVE):
        page.goto(demo.address + path)
        yield path
    page.goto(f"{demo.address}/lead/people")
    page.click("main button.main")
    page.wait_for_selector("#link")
    yield "invitation"
