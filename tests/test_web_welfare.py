"""What a rater decides for himself holds in the queue at once, and a break is offered after his own time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Group
from assent.feedback import tokens
from assent.feedback.attributes import attributes
from assent.feedback.records import Role, Wait
from assent.feedback.store import Store
from browser_tools import PATIENCE, launch
from web_tools import CHROMIUM, PASSWORD, client, groups, join, open_store, serving

UNNAMED = """[...document.querySelectorAll('button, input:not([type=hidden]), textarea, select, a')]
    .filter(e => e.checkVisibility() && !(e.innerText || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def sensitive(store: Store, n: int, tag: str) -> None:
    made = groups(n, say=tag.title())
    tagged = [g.prompt.model_copy(update={"tags": {"sensitive": tag}}) for g in made]
    store.add_groups([Group(prompt=p, answers=g.answers) for p, g in zip(tagged, made, strict=True)], "compare")


def test_an_opt_out_and_a_cap_hold_at_once_and_can_be_taken_back(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    sensitive(store, 1, "violence")
    assert 'value="violence">' in http.get("/work/settings").text
    form = {"csrf": token, "opted_out": "violence", "daily_cap": "7"}
    assert http.post("/work/settings", data=form).status_code == 303
    (one,) = store.people()
    assert (one.opted_out, one.daily_cap) == (("violence",), 7)
    assert 'value="violence" checked>' in http.get("/work/settings").text
    assert isinstance(store.next(one), Wait)
    assert http.post("/work/settings", data={"csrf": token, "daily_cap": " "}).status_code == 303
    (one,) = store.people()
    assert (one.opted_out, one.daily_cap) == ((), None)
    assert not isinstance(store.next(one), Wait)


@pytest.mark.parametrize("cap", ["0", "-1", "1.5", "10001", "many", "²", "9" * 11])
def test_a_cap_that_is_no_number_changes_nothing(cap: str, store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    assert http.post("/work/settings", data={"csrf": token, "daily_cap": cap}).status_code == 400
    assert store.people()[0].daily_cap is None


def test_only_categories_of_the_queue_can_be_left_out(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    sensitive(store, 1, "violence")
    for wrong in ("hate", "\x00", "x" * 3000):
        form = {"csrf": token, "opted_out": ["violence", wrong], "daily_cap": ""}
        assert http.post("/work/settings", data=form).status_code == 400
    assert store.people()[0].opted_out == ()


def test_what_a_person_tells_is_kept_and_taken_back(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.rater, "one")
    (one,) = store.people()
    sent = {"csrf": token, "about-age": "45 to 59", "about-region": ""}
    assert http.post("/work/settings/about", data=sent).status_code == 303
    assert attributes(store) == {one.rater.id: {"age": "45 to 59"}}
    assert '<option value="45 to 59" selected>' in http.get("/work/settings").text
    assert http.post("/work/settings/about", data={**sent, "about-age": "46"}).status_code == 400
    assert attributes(store) == {one.rater.id: {"age": "45 to 59"}}
    assert http.post("/work/settings/about", data={"csrf": token}).status_code == 303
    assert attributes(store) == {}


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no browser at /usr/bin/chromium")
def test_a_break_is_offered_after_the_time_in_view_and_the_screens_fit(store: Store, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    one = store.accept(store.invite(Role.lead, None), "one", PASSWORD)
    tokens.make(store, one, "a rather long name for a token", 30)
    with serving(store, tmp_path) as address, sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(base_url=address)
        page.set_default_timeout(PATIENCE)
        page.clock.install(time=0)
        page.clock.pause_at(1)  # else real seconds are added to those below
        page.goto("/sign-in")
        page.get_by_label("Name").fill("one")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("header.top")
        page.goto("/work/settings")
        page.get_by_label("Remind me").fill("2")
        page.get_by_label("Most items a day").focus()
        page.get_by_text("Kept.").wait_for()
        page.reload()
        assert page.get_by_label("Remind me").input_value() == "2"
        dialog = '<dialog id="break" data-person="ID">Time for a break?<button data-close>Go on</button></dialog>'
        page.evaluate(
            """([dialog]) => {
                document.body.insertAdjacentHTML('beforeend', dialog);
                return import('/static/breaks.js').then((m) => m.watch(document.getElementById('break')));
            }""",
            [dialog.replace("ID", one.id)],
        )
        page.clock.run_for(110_000)
        assert not page.locator("#break").is_visible()
        page.clock.run_for(20_000)
        assert page.locator("#break").is_visible()
        page.evaluate("document.getElementById('break').close()")
        page.clock.run_for(110_000)
        assert not page.locator("#break").is_visible()
        page.evaluate("id => import('/static/drafts.js').then((m) => m.save(id, 'a1', '<b>half a text'))", one.id)
        page.evaluate("import('/static/drafts.js').then((m) => m.save('somebody', 'a2', 'not mine'))")
        page.goto("/work")
        page.get_by_text("<b>half a text").wait_for()
        assert page.locator("#drafts li").count() == 1
        page.get_by_role("button", name="Throw away").click()
        page.get_by_text("What you begin to write").wait_for()
        page.set_viewport_size({"width": 360, "height": 740})
        for path in ("work", "work/settings", "lead/contests", "lead/access", "lead/audit"):
            page.goto(f"{address}/{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert page.evaluate(UNNAMED) == [], path
        browser.close()
