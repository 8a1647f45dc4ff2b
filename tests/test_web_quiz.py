"""The quiz on the screens: made by the lead, explained after the answer and not before, offline too, tried again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Group
from assent.feedback import gold, takers
from assent.feedback.records import Person, Queue, Role
from assent.feedback.store import Store
from browser_tools import EMPTY, ITEM, PATIENCE, expect, in_hand, next_shown, press, visited
from web_tools import CHROMIUM, PASSWORD, client, groups, join, open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOLD = "#explained[open]"
in_a_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def lead(store: Store) -> Person:
    return store.accept(store.invite(Role.lead, None), "Ada", PASSWORD)


def known(group: Group) -> gold.Known:
    return gold.Known(group, tuple((answer.id,) for answer in group.answers), "R1: **true** first <script>x</script>")


def rate(http: TestClient, token: str, path: str, **body: Any) -> dict[str, Any]:
    return http.post(f"/api/{path}", json=body, headers={"x-csrf-token": token}).json()


def test_the_lead_makes_a_quiz_item_of_one_in_the_queue(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path)
    token = join(store, http, Role.lead, "lead")
    store.add_groups(groups(2, 3), "rank")
    page = http.get("/lead/gold/pick?words=question 1").text
    (link,) = re.findall(r'href="(/lead/gold/item\?item=(\d+))"', page)
    assert 'id="place2"' in http.get(link[0]).text
    form = {"csrf": token, "item": link[1], "explanation": "R1", "part": "quiz"}
    for places in ((2, 1, ""), ("1", "0", "2"), ("x", 1, 1)):
        asked = {f"place{k}": str(place) for k, place in enumerate(places)}
        assert http.post("/lead/gold/item", data={**form, **asked}).status_code == 400
    assert gold.overview(store) == []
    answer = http.post("/lead/gold/item", data={**form, "place0": "2", "place1": "1", "place2": "2"})
    assert answer.status_code == 303
    (item,) = gold.overview(store)
    a, b, c = (each.id for each in item.known.group.answers)
    assert (item.part, item.known.tiers, item.known.explanation) == ("quiz", ((b,), tuple(sorted((a, c)))), "R1")
    assert "B &gt; A = C" in http.get("/lead/gold").text


def test_a_file_of_quiz_items_comes_in_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path)
    token = join(store, http, Role.lead, "lead")
    rows = [{"prompt": f"<b>{k}</b>", "chosen": "good", "rejected": "bad", "explanation": "R1"} for k in range(2)]
    for content, status, said in (
        ("\n".join(map(json.dumps, [*rows, {"prompt": "no order"}])), 400, "row 3"),
        ("{", 400, "Nothing was taken over"),
        ("", 400, "holds no row"),
        ("\n".join(map(json.dumps, rows)), 200, "2 new items"),
        ("\n".join(map(json.dumps, rows)), 200, "0 new items"),
    ):
        files = {"file": ("quiz.jsonl", content.encode())}
        got = http.post("/lead/gold/upload", data={"csrf": token, "part": "gold"}, files=files)
        assert (got.status_code, said in got.text) == (status, True), got.text
        assert len(gold.overview(store)) == (2 if status == 200 else 0)
    assert {item.part for item in gold.overview(store)} == {"gold"} and "<b>" not in http.get("/lead/gold").text


def test_what_is_known_is_said_after_the_answer_only(store: Store, lead: Person, tmp_path: Path) -> None:
    checked, plain = groups(1, say="Check")[0], groups(1)[0]
    gold.add(store, [known(checked)], quiz=False, by=lead)
    store.add_groups([plain], "compare")
    http = client(store, tmp_path)
    token = join(store, http, Role.rater, "one")
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    first, second = (rate(http, token, "next", held=held) for held in ([], ["x"]))
    assert first == second and first["item"]["turns"][0]["html"] != ""
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    other = rate(http, token, "next", held=[first["item"]["id"]])
    assert other.keys() == first.keys() and other["item"].keys() == first["item"].keys()
    texts = [answer["text"] for answer in first["item"]["answers"]]
    best = texts.index("Answer 0 to check 0.")
    sent = {"key": "k", "assignment": first["item"]["id"]}
    verdict = {"outcome": "ranked", "tiers": [[1 - best], [best]], "strength": 1}
    said = rate(http, token, "submit", **sent, verdict=verdict)
    assert said == rate(http, token, "submit", **sent, verdict=verdict)
    told = said["explained"]
    assert (told["right"], told["quiz"], told["known"]) == (False, False, [[best], [1 - best]])
    assert told["order"] == ("A > B" if best == 0 else "B > A")
    assert "<strong>true</strong>" in told["html"] and "<script" not in told["html"]
    ordinary = rate(http, token, "submit", key="k2", assignment=other["item"]["id"], verdict={"outcome": "both_bad"})
    assert ordinary == {"state": "kept"}


@pytest.fixture
def page(browser: Browser, store: Store, tmp_path: Path) -> Iterator[tuple[Page, Person]]:
    """A rater's tab, before it is opened; script errors fail the test."""
    with visited(browser, store, tmp_path) as address:
        who = store.accept(store.invite(Role.rater, None), "Bo", PASSWORD)
        context = browser.new_context(base_url=address)
        context.add_cookies([{"name": "assent_session", "value": store.sign_in("Bo", PASSWORD), "url": address}])
        tab, wrong = context.new_page(), []
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        yield tab, who
        assert wrong == []


def right_key(tab: Page) -> str:
    return "2" if "Answer 0" in tab.inner_text("#answers .answer >> nth=0") else "6"


@in_a_browser
def test_the_quiz_by_keyboard_failed_and_tried_again(page: tuple[Page, Person], store: Store, lead: Person) -> None:
    tab, bo = page
    gold.add(store, [known(group) for group in groups(2, say="Quiz")], quiz=True, by=lead)
    store.add_groups(groups(1), "compare")
    tab.goto("/rate")
    tab.wait_for_selector(ITEM)
    first = tab.inner_text("#turns")
    press(tab, f"{right_key(tab)} Enter")
    tab.wait_for_selector(TOLD)
    assert "That is the known answer" in tab.inner_text(TOLD) and "true first" in tab.inner_text(TOLD)
    press(tab, "3 q Enter")  # the first two mean nothing here, the last goes on
    expect(tab.locator(TOLD)).to_have_count(0)
    next_shown(tab, first)
    assert tab.is_disabled("#submit")
    press(tab, f"{'6' if right_key(tab) == '2' else '2'} Enter")
    tab.wait_for_selector(TOLD)
    assert "another one" in tab.inner_text(TOLD) and "Quiz 1?" in tab.inner_text("#explained-turns")
    assert tab.inner_text("#explained-answers .better .prose") == "Answer 0 to quiz 1."
    press(tab, "Enter")
    expect(tab.locator("#why")).to_have_text("The quiz was not passed")
    expect(tab.locator("#quiz-right")).to_have_text("1 of 2")
    press(tab, "z")
    expect(tab.locator("#said")).to_contain_text("known answer was shown")
    takers.allow_try(store, bo.id, lead)
    tab.reload()
    for _ in range(2):
        tab.wait_for_selector(ITEM)
        press(tab, f"{right_key(tab)} Enter")
        tab.wait_for_selector(TOLD)
        press(tab, "Enter")
        expect(tab.locator(TOLD)).to_have_count(0)
    expect(tab.locator("#turns")).to_contain_text("Question 0?")


@in_a_browser
def test_an_answer_given_offline_is_explained_when_the_server_has_it(
    page: tuple[Page, Person], store: Store, lead: Person
) -> None:
    tab, bo = page
    gold.add(store, [known(group) for group in groups(1, say="Check")], quiz=False, by=lead)
    store.add_groups(groups(2), "compare")
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    assert store.next(bo).why == "gold"  # type: ignore[union-attr]
    with in_hand(tab, 3):  # all of them
        tab.goto("/rate")
    tab.wait_for_selector(ITEM)
    tab.context.set_offline(True)
    press(tab, f"{right_key(tab)} Enter")
    expect(tab.locator("#turns")).to_contain_text("Question")
    expect(tab.locator("#kept")).to_contain_text("1 answer")
    second = tab.inner_text("#turns")
    press(tab, "1 n")
    tab.keyboard.type("half a sen")
    tab.context.set_offline(False)
    expect(tab.locator("#kept")).to_have_text("")
    assert tab.locator(TOLD).count() == 0  # not while he writes
    tab.keyboard.type("tence")
    press(tab, "Escape Enter")
    tab.wait_for_selector(TOLD)
    assert "Check 0?" in tab.text_content("#explained-turns")  # type: ignore[operator]
    press(tab, "Enter")
    next_shown(tab, second)
    press(tab, "4 Enter")
    tab.wait_for_selector(EMPTY)
    expect(tab.locator("#why")).to_have_text("Nothing to do here")
    expect(tab.locator("#kept")).to_have_text("")
    assert [act.note for act in store.judgments()] == ["", "half a sentence", ""]


@in_a_browser
def test_the_leads_screens_fit_a_phone_and_name_their_controls(
    page: tuple[Page, Person], store: Store, lead: Person
) -> None:
    tab, _ = page
    store.add_groups(groups(1, 4), "rank")
    gold.add(store, [known(group) for group in groups(1, say="Quiz")], quiz=True, by=lead)
    for text in ("R1: one", "R1: two " + "word" * 40):
        store.add_guideline(text, "Rules")
    tab.goto("/healthz")
    session = {
        "name": "assent_session",
        "value": store.sign_in("Ada", PASSWORD),
        "url": tab.url.removesuffix("/healthz"),
    }
    tab.context.add_cookies([session])
    tab.set_viewport_size({"width": 360, "height": 740})
    work, check = gold.candidates(store)[0][0], gold.overview(store)[0].n
    unnamed = """[...document.querySelectorAll('button, input:not([type=hidden]), textarea, select, a')]
        .filter(e => e.checkVisibility() && !(e.innerText || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""
    items = [f"gold/item?item={number}" for number in (work, check)]
    for path in ("gold", "gold/pick", *items, "adjudicate", "guidelines"):
        tab.goto(f"/lead/{path}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert tab.evaluate(unnamed) == [], path
        assert tab.locator("h1").count() == 1
