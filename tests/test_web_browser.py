"""The service in a real Chromium: the whole way by keyboard, offline, and hostile text that must stay text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assent.core.records import Answer, Group, Prompt
from assent.feedback.reads import standing
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.formats import read_demonstrations, read_preferences
from browser_tools import (
    EMPTY,
    ITEM,
    expect,
    in_hand,
    join,
    next_shown,
    open_page,
    press,
    sent,
    shown,
    start_rating,
    visited,
    wait_kept,
)
from test_web_markdown import ATTACKS
from web_tools import CHROMIUM, groups, open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
LEAD_PAGES = "quality people pool data guidelines export queue gold adjudicate contests access audit"
PAGES = ["rate", "work", "guideline", "lead", *(f"lead/{page}" for page in LEAD_PAGES.split())]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def address(browser: Browser, store: Store, tmp_path: Path) -> Iterator[str]:
    with visited(browser, store, tmp_path) as found:
        yield found


def test_the_whole_way_by_keyboard(browser: Browser, store: Store, address: str, tmp_path: Path) -> None:
    lead, wrong = open_page(browser, address)
    join(lead, f"{address}/join/{store.invite(Role.lead, None)}", "Ada")
    lead.goto(f"{address}/lead/guidelines")
    lead.fill("#text", "R1: **true** before fluent.")
    lead.press("#name", "Enter")
    lead.wait_for_selector(".prose strong")

    rows: list[Any] = [{"prompt": f"Compare {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(6)]
    rows += [{"prompt": "Rank?", "completion": text} for text in ("one", "two", "three", "four")]
    rows += [{"prompt": "Write?"}, {"prompt": 7}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    lead.goto(f"{address}/lead/data")
    lead.set_input_files("#file", str(file))
    lead.focus("main button.main")
    lead.keyboard.press("Enter")
    lead.wait_for_selector("#overlap")
    expect(lead.locator("main")).to_contain_text("line 12")
    lead.press("#overlap", "Enter")
    lead.wait_for_selector("[role=status]")
    assert (store.progress().items, store.progress().places) == (8, 16)

    lead.goto(f"{address}/lead/people")
    lead.focus("main button.main")
    lead.keyboard.press("Enter")
    link = lead.input_value("#link")
    rater, also_wrong = open_page(browser, address)
    join(rater, link, "Bo")
    start_rating(rater, address)
    _judge_everything(rater)
    sent(rater)
    (bo,) = [person for person in store.people() if person.name == "Bo"]
    work = store.work_of(bo)
    assert (work.judged, work.skipped) == (7, 1)
    _check_judgments(store)

    lead.goto(f"{address}/lead")
    assert "I do not want to judge this" in lead.inner_text("main") and "look at R1" in lead.inner_text("main")
    assert "not enough data" in lead.inner_text("main")
    lead.goto(f"{address}/lead/export")
    lead.focus("main button.main")
    lead.keyboard.press("Enter")
    lead.wait_for_selector("a[download]")
    (folder,) = (tmp_path / "exports").iterdir()
    assert read_preferences(folder / "preferences").judgments
    assert {d.answer.text for d in read_demonstrations(folder / "demonstrations")} >= {"sno\nZq1"}
    assert not wrong and not also_wrong


def _judge_everything(page: Page) -> None:
    """Six to compare, one to rank with a tie, one to write, in whatever order they come."""
    compared = 0
    for _ in range(8):
        before = shown(page)
        if "Write?" in before:
            page.keyboard.type("sno\nZq1")  # letters of commands, in a field: text and nothing else
            press(page, "Control+Enter")
        elif "Rank?" in before:
            press(page, "c = a Enter b Backspace b d Shift+f Enter")  # the first Enter comes too early
        else:
            _compare(page, compared)
            compared += 1
        page.wait_for_selector(f"{ITEM}, {EMPTY}")  # on a slow machine the next item may still be on its way
        if page.is_visible(ITEM):
            next_shown(page, before)
    page.wait_for_selector(EMPTY)


def _compare(page: Page, n: int) -> None:
    if n == 0:
        press(page, "Enter 2 q t n")  # Enter with nothing chosen does nothing
        page.keyboard.type("look at R1; s z 7")
        press(page, "Escape Enter")
    elif n == 1:
        press(page, "s Escape s 1")
    elif n == 2:
        before = shown(page)
        press(page, "7 Enter")
        following = next_shown(page, before)
        press(page, "z")
        assert next_shown(page, following) == before
        press(page, "4 Enter")
    elif n == 3:
        press(page, "0 Enter")
    elif n == 4:
        press(page, "Escape 1 Enter")  # the neutral screen takes no answer
        assert page.is_visible("#panic") and not page.is_visible("#page")
        press(page, "Escape 6 i")
        page.keyboard.press("Control+End")
        page.keyboard.type(" indeed")
        assert page.is_visible("#ideal-diff ins")
        press(page, "Escape ? Escape g g Enter")
    else:
        press(page, "1 Enter")


def _check_judgments(store: Store) -> None:
    made = {}
    texts = {group.id: group for group in store.groups()}
    for judgment in standing(store.judgments()):
        made.setdefault(texts[judgment.group].prompt.text.split()[0].rstrip("?"), []).append(judgment)
    (ranked,) = made["Rank"]
    letters = {answer: "abcd"[i] for i, answer in enumerate(ranked.shown_order)}
    assert [sorted(letters[a] for a in tier) for tier in ranked.tiers] == [["a", "c"], ["b"], ["d"]]
    assert ranked.reasons == ("flagged",)
    said = sorted((j.outcome, j.strength, bool(j.ideal), j.reasons) for j in made["Compare"] if j.outcome == "ranked")
    assert said == [
        ("ranked", 0, False, ()),
        ("ranked", 2, False, ("correct", "safe")),
        ("ranked", 2, True, ()),
        ("ranked", 3, False, ()),
    ]
    for judgment in made["Compare"]:
        assert judgment.guideline == store.guideline().version  # type: ignore[union-attr]
        if judgment.strength == 3:
            assert judgment.tiers[0][0] == judgment.shown_order[0]  # key 1: the first shown is much better
        if judgment.outcome != "skip":
            assert judgment.times["shown"] <= judgment.times["submitted"]


@pytest.fixture
def rater(browser: Browser, store: Store, address: str) -> tuple[Page, list[str]]:
    store.add_guideline("R1", "Rules")
    page, wrong = open_page(browser, address)
    join(page, f"{address}/join/{store.invite(Role.rater, None)}", "Bo")
    return page, wrong


def test_three_answers_without_a_connection(rater: tuple[Page, list[str]], store: Store, address: str) -> None:
    page, _ = rater
    store.add_groups(groups(6), "compare")
    with in_hand(page, 4):
        start_rating(page, address)
    page.context.set_offline(True)
    for n in (1, 2, 3):
        before = shown(page)
        press(page, f"{n} Enter")
        wait_kept(page, n)
        next_shown(page, before)
    assert store.judgments() == []
    page.context.set_offline(False)
    sent(page)
    assert sorted(judgment.strength or 0 for judgment in store.judgments()) == [1, 2, 3]
    before = shown(page)
    press(page, "4 Enter")
    next_shown(page, before)
    sent(page)
    assert len(store.judgments()) == 4


def lose_receipts(page: Page) -> list[int]:
    """The server gets the next submit and its answer is lost; later ones do not get through. The status it answered."""
    lost: list[int] = []

    def lose(route: Any) -> None:
        if not lost:
            lost.append(route.fetch().status)
        route.abort()

    page.route("**/api/submit", lose)
    return lost


def test_an_answer_whose_receipt_was_lost_is_kept_once(
    rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, _ = rater
    store.add_groups(groups(3), "compare")
    start_rating(page, address)
    lost = lose_receipts(page)
    with page.expect_event("requestfailed", lambda request: "/api/submit" in request.url):
        press(page, "1 Enter")
    page.reload()  # what is kept survives the page
    wait_kept(page, 1)
    page.unroute("**/api/submit")
    sent(page)
    assert lost == [200] and len(store.judgments()) == 1


def test_an_answer_whose_receipt_was_lost_can_still_be_corrected(
    rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, _ = rater
    store.add_groups(groups(3), "compare")
    start_rating(page, address)
    lost = lose_receipts(page)
    before = shown(page)
    press(page, "1 Enter")
    wait_kept(page, 1)
    following = next_shown(page, before)
    press(page, "z")
    assert next_shown(page, following) == before
    press(page, "7 Enter")
    page.unroute("**/api/submit")
    sent(page)
    (kept,) = standing(store.judgments())
    assert lost == [200] and kept.tiers[0] == (kept.shown_order[1],) and len(store.judgments()) == 3


def test_answered_in_another_tab_and_errors_of_the_server_are_said(
    rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, _ = rater
    store.add_groups(groups(2), "compare")
    start_rating(page, address)
    tab = page.context.new_page()
    tab.goto(f"{address}/rate")
    tab.wait_for_selector(ITEM)
    assert shown(tab) == shown(page)
    press(page, "1 Enter")
    sent(page)
    before = shown(tab)
    press(tab, "7 Enter")
    expect(tab.locator("#said")).to_contain_text("another tab")
    assert len(store.judgments()) == 1
    next_shown(tab, before)
    tab.route("**/api/submit", lambda route: route.fulfill(status=500, body="broken"))
    press(tab, "5 Enter")
    expect(tab.locator("#said")).to_contain_text("server has a problem")
    wait_kept(tab, 1)


def test_answers_on_their_way_are_not_the_end_of_the_work(
    rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, _ = rater
    store.add_groups(groups(6), "compare")
    start_rating(page, address)
    waiting: list[Any] = []
    freed: list[bool] = []
    page.route("**/api/submit", lambda route: route.continue_() if freed else waiting.append(route))
    for _ in range(4):
        before = shown(page)
        press(page, "1 Enter")
        next_shown(page, before)
    before = shown(page)
    with page.expect_response("**/api/next"):
        press(page, "1 Enter")  # the fifth: nobody is given more than five before the server has one
    assert not page.is_visible(EMPTY) and store.judgments() == []
    freed.append(True)
    waiting[0].continue_()
    next_shown(page, before)
    sent(page)
    assert len(store.judgments()) == 5


def test_who_waited_for_a_text_to_write_can_begin_at_once(
    rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, _ = rater
    store.add_prompts([Prompt.ask("Write?")])
    start_rating(page, address)
    expect(page.locator("#ideal")).to_be_focused()


def test_a_new_guideline_is_announced_and_read(rater: tuple[Page, list[str]], store: Store, address: str) -> None:
    page, _ = rater
    store.add_groups(groups(8), "compare")
    with in_hand(page, 4):
        start_rating(page, address)
    store.add_guideline("R1 and R2", "Rules")
    before = shown(page)
    press(page, "1 Enter")
    next_shown(page, before)
    page.wait_for_selector("#changed:not([hidden])")


def test_a_sensitive_item_is_covered_until_asked_for(rater: tuple[Page, list[str]], store: Store, address: str) -> None:
    page, _ = rater
    prompt = Prompt.ask("A sad story?", sensitive="grief")
    answers = tuple(Answer.of(prompt, text) for text in ("a", "b"))
    store.add_groups([Group(prompt=prompt, answers=answers)], "compare")
    start_rating(page, address)
    assert "grief" in page.inner_text("#sensitive") and page.locator("#content.blurred").count() == 1
    press(page, "b")
    assert page.locator("#content.blurred").count() == 0 and not page.is_visible("#sensitive")


def test_hostile_text_runs_nothing_and_asks_nobody(
    browser: Browser, rater: tuple[Page, list[str]], store: Store, address: str
) -> None:
    page, wrong = rater
    prompt = Prompt.ask("\n\n".join(ATTACKS))
    parts = [ATTACKS[i::9] for i in range(9)]
    answers = tuple(Answer.of(prompt, "\n\n".join(part), index=i) for i, part in enumerate(parts))
    store.add_groups([Group(prompt=prompt, answers=answers)], "rank")
    store.add_guideline("\n\n".join(("R1", *ATTACKS)).replace("\0", ""), "<script>window.hit=1</script>")
    start_rating(page, address)
    assert "window.hit" in shown(page)
    for element in page.query_selector_all("#turns a, #answers a"):
        element.dispatch_event("mouseover")
    page.keyboard.press("n")
    page.keyboard.type("<img src=x onerror=window.hit=1>")
    press(page, "Escape a b c d e Shift+f f g h i Enter")
    sent(page)
    lead, also_wrong = open_page(browser, address)
    join(lead, f"{address}/join/{store.invite(Role.lead, None)}", "<b>Ada</b>")
    for each, paths in ((page, ("/rate", "/work")), (lead, ("/lead", "/lead/quality", "/lead/people", "/guideline"))):
        for path in paths:
            each.goto(address + path)
            each.wait_for_load_state("networkidle")
            assert each.evaluate("window.hit") is None
            assert each.locator("main img, main iframe, main svg:not(.axis-line), main script, main style").count() == 0
    assert not wrong and not also_wrong
    (judgment,) = store.judgments()
    assert len(judgment.tiers) == 9


def test_every_screen_fits_a_phone_and_names_its_controls(
    browser: Browser, store: Store, address: str, tmp_path: Path
) -> None:
    store.add_groups(groups(2), "compare")
    store.add_groups(groups(2, 5, "Rank"), "rank")
    page, _ = open_page(browser, address)
    page.set_viewport_size({"width": 360, "height": 740})
    join(page, f"{address}/join/{store.invite(Role.lead, None)}", "Ada")
    unnamed = """[...document.querySelectorAll('button, input:not([type=hidden]), textarea, select, a')]
        .filter(e => e.checkVisibility() && !(e.innerText || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""
    for path in PAGES:
        page.goto(f"{address}/{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.evaluate(unnamed) == [], path
        assert page.locator("h1").count() == 1 and page.get_attribute("html", "lang") == "en"
    page.goto(f"{address}/rate")
    page.wait_for_selector(ITEM)
    page.keyboard.press("?")
    page.focus("#keys-off")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert page.is_disabled("#submit")  # keys are off; buttons work
    page.click("#strength [data-value='1']")
    assert page.is_enabled("#submit")


def test_nothing_comes_from_elsewhere() -> None:
    web = Path(__file__).parent.parent / "src/assent/web"
    for file in [*web.rglob("*.js"), *web.rglob("*.css"), *web.rglob("*.j2")]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"""(src|href|url|import|from)\s*[=(]?\s*["']?(https?:)?//""", text), file.name
        assert not re.search(r"<script(?! type=\"module\" src=\"/static/)|\son\w+=|style=\"|<style", text), file.name
