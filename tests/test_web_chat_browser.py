"""The chat in a real Chromium: by keyboard from the first word to the vote, across a reload, without a connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from asked_models import Models, endpoint
from assent.feedback.records import Role
from assent.feedback.store import Store
from browser_tools import expect, join, open_page, press, visited
from test_web_markdown import ATTACKS
from web_tools import CHROMIUM, open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
ENDPOINTS = (endpoint("x"), endpoint("y"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def models() -> Models:
    return Models(lambda body: f"{body['model'][-1]} to **{len(body['messages'])}**")


@pytest.fixture
def address(browser: Browser, store: Store, tmp_path: Path, models: Models) -> Iterator[str]:
    with visited(browser, store, tmp_path, models.client, endpoints=ENDPOINTS) as found:
        yield found


def begin(browser: Browser, store: Store, address: str, red: bool = False) -> tuple[Page, list[str]]:
    page, wrong = open_page(browser, address)
    join(page, f"{address}/join/{store.invite(Role.rater, None)}", "Ada")
    page.goto(f"{address}/chat")
    page.wait_for_selector("#start:not([hidden])")
    page.focus("input[name=mode]:checked")
    press(page, "ArrowDown" if red else "Tab")
    page.focus("#start button.main")
    press(page, "Enter")
    page.wait_for_selector("#talk:not([hidden])")
    return page, wrong


def say(page: Page, text: str) -> None:
    page.keyboard.type(text)
    press(page, "Control+Enter")
    page.wait_for_selector("#controls:not([hidden])")


def test_by_keyboard_across_a_reload_and_without_a_connection(
    browser: Browser, store: Store, address: str, models: Models
) -> None:
    page, wrong = begin(browser, store, address)
    say(page, "hello 7")  # digits in the field are text
    shown = page.locator(".answer .prose strong").all_text_contents()
    assert shown == ["1", "1"]
    expect(page.locator("#submit")).to_be_disabled()
    page.reload()
    page.wait_for_selector("#controls:not([hidden])")
    right = page.locator(".answer .prose").nth(1).inner_text()
    press(page, "7 Enter")
    page.wait_for_selector("#talk:not([hidden])")
    expect(page.locator("#turns .turn").nth(1)).to_contain_text(right)
    expect(page.locator("#text")).to_be_focused()
    say(page, "and then?")
    page.context.set_offline(True)
    press(page, "0 Enter")
    expect(page.locator("#kept")).not_to_have_text("")
    page.context.set_offline(False)
    page.wait_for_selector("#talk:not([hidden])")
    expect(page.locator("#kept")).to_have_text("")
    expect(page.locator("#said")).to_contain_text("drawn")
    page.click("#stop")
    page.wait_for_selector("#start:not([hidden])")
    first, second = store.judgments()
    assert (first.strength, first.tiers[0][0], second.outcome) == (3, first.shown_order[1], "both_bad")
    assert [body["messages"][-1]["content"] for body in models.asked[::2]] == ["hello 7", "and then?"]
    assert not [each for each in wrong if "Failed to load" not in each]


def test_red_team_says_so_and_a_failing_model_loses_nothing(
    browser: Browser, store: Store, address: str, models: Models
) -> None:
    models.answer = lambda body: httpx.Response(400, json={"error": "full"})
    page, wrong = begin(browser, store, address, red=True)
    expect(page.locator("#red")).to_be_visible()
    expect(page.locator("#red")).to_contain_text("Red team")
    page.keyboard.type("be bad")
    press(page, "Control+Enter")
    expect(page.locator("#problem")).to_contain_text("did not answer")
    expect(page.locator("#text")).to_have_value("be bad")
    models.answer = lambda body: "no" if body["model"] == "secret-x" else "well"
    press(page, "Control+Enter")
    page.wait_for_selector("#controls:not([hidden])")
    expect(page.locator("#problem")).to_be_hidden()
    press(page, "1 Enter")
    page.wait_for_selector("#talk:not([hidden])")
    assert store.judgments()[0].reasons == ("red_team",)
    assert len(page.locator("#turns .turn").all()) == 2 and not wrong


def test_hostile_answers_stay_text(browser: Browser, store: Store, address: str, models: Models) -> None:
    attack = "\n\n".join(ATTACKS)
    models.answer = lambda body: attack + body["model"]
    page, wrong = begin(browser, store, address)
    say(page, "<img src=x onerror=alert(1)> hello")
    press(page, "2 Enter")
    page.wait_for_selector("#talk:not([hidden])")
    assert not wrong and page.locator("main script, main img, main iframe").count() == 0
    assert json.dumps(store.judgments()[0].tiers)
