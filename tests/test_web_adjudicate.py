"""Adjudication: the strongest opposition first, nobody's name, the last word kept once and marked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Group, Judgment
from assent.feedback import adjudication
from assent.feedback.errors import AlreadyAnswered, BadVerdict, NotAllowed, NotFound
from assent.feedback.reads import standing
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict
from assent.feedback.store import Store
from browser_tools import PATIENCE, expect, launch
from feedback_store import fresh_url
from feedback_store import open_store as open_any_store
from feedback_store import person as account
from web_tools import CHROMIUM, PASSWORD, client, groups, join, open_store, serving, token_in

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_any_store(url) as made:
        made.set_queue(Queue(gold=0, repeat=0, control=0))
        yield made


def act(order: str, strength: int | None = None, **more: Any) -> Judgment:
    """Tiers like `a>b=c`."""
    tiers = tuple(tuple(tier.split("=")) for tier in order.split(">")) if order else ()
    return Judgment.model_validate(
        {"id": "j", "group": "g", "rater": "r", "tiers": tiers, "strength": strength, **more}
    )


def say(store: Store, who: Person, group: Group, best: int, strength: int, **more: Any) -> Judgment:
    """A verdict on one group, skipping none: items come in order."""
    item = store.next(who)
    assert isinstance(item, Assignment) and item.group.id == group.id
    order = [answer.id for answer in group.answers]
    tiers = ((order[best],), *((a,) for a in order if a != order[best]))
    return store.submit(who, item.id, f"k-{group.id}", Verdict(tiers=tiers, strength=strength, **more))


@pytest.mark.parametrize(
    ("voices", "expected"),
    [
        ([], 0),
        ([act("a>b", 3), act("a>b", 3)], 0),
        ([act("a>b", 3), act("a=b", 0)], 0),
        ([act("a>b", 3), act("", outcome="both_bad")], 0),
        ([act("a>b", 3), act("b>a", 1)], 1),
        ([act("a>b", 3), act("b>a", 1), act("b>a", 2)], 2),
        ([act("a>b"), act("b>a", 3)], 1),  # no strength given: one place apart
        ([act("a>b>c>d>e"), act("e>a>b>c>d")], 2),  # e and c: two places apart, then three the other way
        ([act("a>b>c"), act("b>a>c")], 1),
        ([act("a>b=c"), act("c>b>a")], 1),
    ],
)
def test_opposition_is_the_weaker_sides_strongest_word(voices: list[Judgment], expected: int) -> None:
    assert adjudication.opposition(voices) == expected
    assert adjudication.opposition(voices[::-1]) == expected


def test_cases_come_by_opposition_and_are_settled_outside_the_overlap(any_store: Store) -> None:
    store = any_store
    weak, agreed, strong = made = groups(3)
    store.add_groups(made, "compare", overlap=2)
    one, two = account(store, "One"), account(store, "Two")
    for group, bests, strengths in ((weak, (0, 1), (1, 3)), (agreed, (1, 1), (3, 3)), (strong, (0, 1), (3, 3))):
        for who, best, strength in zip((one, two), bests, strengths, strict=True):
            say(store, who, group, best, strength)
    assert [(c.group.id, c.opposition) for c in adjudication.cases(store)] == [(strong.id, 3), (weak.id, 1)]
    rev = account(store, "Rev", Role.reviewer)
    a, b = (answer.id for answer in strong.answers)
    word = Verdict(tiers=((b,), (a,)), strength=2, reasons=("correct",), note="R1")
    with pytest.raises(NotAllowed):
        adjudication.settle(store, one, strong.id, "s1", word)
    with pytest.raises(NotFound):
        adjudication.settle(store, rev, "nothing", "s1", word)
    with pytest.raises(BadVerdict):
        adjudication.settle(store, rev, strong.id, "s1", Verdict(outcome="skip"))
    assert isinstance(store.next(rev), Assignment) is False  # a refusal leaves nothing in his hands
    kept = adjudication.settle(store, rev, strong.id, "s1", word)
    assert adjudication.settle(store, rev, strong.id, "s1", Verdict(outcome="both_bad")) == kept
    assert (kept.reasons, kept.shown_order, kept.is_gold) == (("correct", "adjudicated"), (a, b), False)
    assert [c.group.id for c in adjudication.cases(store)] == [weak.id, strong.id]
    assert adjudication.case(store, strong.id).settled == kept
    later = adjudication.settle(store, rev, strong.id, "s2", Verdict(outcome="both_bad"))
    assert later.supersedes == kept.id
    case = adjudication.case(store, strong.id)
    assert case.settled == later and len(case.voices) == 2 and case.opposition == 3
    assert len(standing(store.judgments())) == 7 and store.progress().judged == 6
    with pytest.raises(AlreadyAnswered):
        store.submit(rev, store.adjudicate(rev, strong.id).id, "s3", word)


def test_a_settling_taken_back_opens_the_case(store: Store) -> None:
    (group,) = groups(1)
    store.add_groups([group], "compare", overlap=2)
    for k, name in enumerate(("One", "Two")):
        say(store, account(store, name), group, k, 2)
    rev = account(store, "Rev", Role.reviewer)
    adjudication.settle(store, rev, group.id, "s1", Verdict(outcome="both_bad"))
    store.undo(rev)
    (case,) = adjudication.cases(store)
    assert case.settled is None
    assert adjudication.settle(store, rev, group.id, "s2", Verdict(outcome="both_bad")).reasons == ("adjudicated",)


def opposed(store: Store, n: int = 1) -> list[Group]:
    made = groups(n)
    store.add_groups(made, "compare", overlap=2)
    for k, name in enumerate(("Rosa Luxemburg", "Carl Schurz")):
        who = account(store, name)
        for group in made:
            say(store, who, group, k, 3, reasons=("correct",), note=f"<i>since {k}</i>")
    return made


def test_the_pages_show_who_said_what_without_names(store: Store, tmp_path: Path) -> None:
    (group,) = opposed(store)
    http = client(store, tmp_path)
    join(store, http, Role.reviewer, "rev")
    everything = http.get("/lead/adjudicate").text + (page := http.get(f"/lead/adjudicate/case?group={group.id}").text)
    assert "Rosa" not in everything and "Schurz" not in everything and "<i>" not in everything
    assert "A &gt; B, much" in page and "B &gt; A, much" in page and "more correct" in page and "since 1" in page
    assert {act.rater.removeprefix("human-")[:6] in page for act in store.judgments()} == {True}
    for unknown in ("", "never", "\x00", group.id + "0"):
        assert http.get("/lead/adjudicate/case", params={"group": unknown}).status_code == 404


def settle(http: TestClient, token: str, **body: Any) -> tuple[int, dict[str, Any]]:
    got = http.post("/api/adjudicate", json=body, headers={"x-csrf-token": token})
    return got.status_code, got.json()


def test_a_case_whose_imported_id_is_long_is_settled(store: Store, tmp_path: Path) -> None:
    (short,) = groups(1)
    long = short.model_copy(update={"id": "g" * 400})
    store.add_groups([long], "compare", overlap=2)
    for k, name in enumerate(("Rosa Luxemburg", "Carl Schurz")):
        who, (one, other) = account(store, name), long.answers
        tiers = ((one.id,), (other.id,)) if k else ((other.id,), (one.id,))
        store.submit(who, store.next(who).id, "k", Verdict(tiers=tiers, strength=3))  # type: ignore[union-attr]
    http = client(store, tmp_path)
    token = join(store, http, Role.reviewer, "rev")
    body = {"key": "k", "group": long.id, "verdict": {"outcome": "ranked", "tiers": [[0], [1]], "strength": 1}}
    assert http.post("/api/adjudicate", json=body, headers={"x-csrf-token": token}).status_code == 200


def test_settling_names_places_and_tells_the_next_case(store: Store, tmp_path: Path) -> None:
    first, second = opposed(store, 2)
    http = client(store, tmp_path)
    token = join(store, http, Role.reviewer, "rev")
    word = {"outcome": "ranked", "tiers": [[1], [0]], "strength": 3}
    for wrong in ({**word, "tiers": [[1], [2]]}, {**word, "tiers": [[1]]}, {**word, "reasons": ["adjudicated"]}):
        assert settle(http, token, key="k", group=first.id, verdict=wrong)[0] == 400
    assert settle(http, token, key="k", group="never", verdict=word)[0] == 404
    assert len(store.judgments()) == 4
    assert settle(http, token, key="k", group=first.id, verdict=word) == (200, {"state": "kept", "next": second.id})
    assert settle(http, token, key="k", group=first.id, verdict=word)[0] == 200
    (kept,) = store.judgments()[4:]
    assert kept.tiers == ((first.answers[1].id,), (first.answers[0].id,))
    assert settle(http, token, key="k2", group=second.id, verdict=word)[1]["next"] is None
    assert "Settled as" in http.get(f"/lead/adjudicate/case?group={first.id}").text
    assert token_in(http.get("/lead/adjudicate").text) == token


def ready(page: Page) -> None:
    """A case is there, and its script has run: it hides the controls of the other kind."""
    page.wait_for_url("**/case?**")
    page.wait_for_selector(".ranking", state="attached")
    page.wait_for_selector(".ranking", state="hidden")


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
def test_two_cases_by_keyboard(store: Store, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    opposed(store, 2)
    store.accept(store.invite(Role.reviewer, None), "rev", PASSWORD)
    with serving(store, tmp_path) as address, sync.sync_playwright() as play:
        browser = launch(play)
        page: Page = browser.new_page(base_url=address)
        page.set_default_timeout(PATIENCE)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.context.add_cookies([{"name": "assent_session", "value": store.sign_in("rev", PASSWORD), "url": address}])
        page.goto("/lead/adjudicate")
        page.focus("main a")
        page.keyboard.press("Enter")
        ready(page)
        first = page.url
        for key in ("Enter", "2", "q", "n"):  # the first Enter comes too early
            page.keyboard.press(key)
        page.keyboard.type("R1; 7")
        page.keyboard.press("Escape")
        page.route("**/api/adjudicate", lambda route: (route.fetch(), route.abort()))  # kept, but the receipt is lost
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("Nothing is lost")
        page.unroute("**/api/adjudicate")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "case" in url and url != first)
        ready(page)
        page.keyboard.press("4")
        page.keyboard.press("Enter")
        page.wait_for_url("**/lead/adjudicate")
        assert wrong == [] and "Nobody opposes anybody" in page.inner_text("main")
        browser.close()
    said = [(act.strength, act.reasons, act.note) for act in store.judgments()[4:]]
    assert said == [(2, ("correct", "adjudicated"), "R1; 7"), (0, ("adjudicated",), "")]
