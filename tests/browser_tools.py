"""What browser tests share: Chromium, the way in by keyboard, and waiting for what a screen shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assent.feedback.store import Store
from web_tools import CHROMIUM, PASSWORD, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, Response

ITEM = "#controls:not([hidden])"
EMPTY = "[data-state=empty]:not([hidden])"
PATIENCE = 60_000
"""Milliseconds: a slow machine is no fault of the page."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as play:
        made = launch(play)
        yield made
        made.close()


def launch(play: Playwright) -> Browser:
    return play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"], timeout=PATIENCE)


@contextmanager
def visited(browser: Browser, store: Store, folder: Path, *models: Any, **settings: Any) -> Iterator[str]:
    """The service for pages, which close before it stops: they would ask on while other tests run."""
    with serving(store, folder, *models, **settings) as address:
        yield address
        for context in browser.contexts:
            context.close()


def expect(locator: Any) -> Any:
    """Playwright's waiting assertions. Not wait_for_function: it needs eval, which the page's policy forbids."""
    from playwright.sync_api import expect as playwright_expect

    playwright_expect.set_options(timeout=PATIENCE)
    return playwright_expect(locator)


def open_page(browser: Browser, address: str) -> tuple[Page, list[str]]:
    """A page of its own session; what went wrong in it: script errors, refused content, requests to elsewhere."""
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(address) else None)
    return page, wrong


def join(page: Page, link: str, name: str) -> None:
    """Join by keyboard: Tab from field to field, Enter at the end."""
    page.goto(link)
    page.focus("#name")
    for text in (name, PASSWORD):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("header.top")


def in_hand(page: Page, n: int) -> AbstractContextManager[Any]:
    """What is done inside gets `n` items into the page's hands: at the end it has asked for one more."""

    def full(response: Response) -> bool:
        return "/api/next" in response.url and len(response.request.post_data_json["held"]) == n

    return page.expect_response(full)


def start_rating(page: Page, address: str) -> None:
    """Read the guideline and get the first item."""
    page.goto(f"{address}/rate")
    page.wait_for_selector("[data-state=changed]:not([hidden])")
    page.focus("[data-state=changed] a")
    page.keyboard.press("Enter")
    page.focus("main button.main")
    page.keyboard.press("Enter")
    page.wait_for_selector(ITEM)


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def sent(page: Page) -> None:
    """Wait until no answer is kept on this device."""
    expect(page.locator("#kept")).to_have_text("")


def wait_kept(page: Page, n: int) -> None:
    expect(page.locator("#kept")).to_have_text(re.compile(f"^{n} answers? kept on this device$"))


def shown(page: Page) -> str:
    return page.inner_text("#turns")


def next_shown(page: Page, before: str) -> str:
    """What is shown after `before`; on a slow machine nothing is, for a while."""
    expect(page.locator("#turns")).not_to_have_text(before, use_inner_text=True)
    page.wait_for_selector(ITEM)
    return shown(page)
