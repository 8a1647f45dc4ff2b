"""The whole job in a real Chromium: a lead, two raters, quiz, 24 items by keyboard, adjudication, export; then a run
trains a policy and a reward model on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import toy_run
from assent.core.records import Answer, Group, Prompt
from assent.feedback import places
from assent.feedback.reads import standing
from assent.feedback.records import Role
from assent.feedback.store import Store
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
from toy_run import assent
from web_tools import CHROMIUM, open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
EXPLAINED = "#explained[open]"
WRITTEN = ("big", "small", "red")
PLACES = ("zor", "gilm", "tarn", "vesk", "lomb", "quin", "drav", "pell", "muro", "sant")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def address(browser: Browser, store: Store, tmp_path: Path) -> Iterator[str]:
    with visited(browser, store, tmp_path) as found:
        yield found


def rows() -> list[dict[str, Any]]:
    """20 pairs, 3 groups of 4, prompts to write for, and a sensitive pair, as a lead has them in a file."""
    made: list[dict[str, Any]] = [
        {"prompt": f"is it big in {place} {i} ?", "chosen": "it is big .", "rejected": "i do not know ."}
        for i, place in enumerate(PLACES * 2)
    ]
    for place in PLACES[:3]:
        made += [
            {"prompt": f"rank what is in {place} .", "completion": text}
            for text in ("a moth .", "a guard .", "nothing .", "a red moth and a guard .")
        ]
    prompt = Prompt.ask("how do i kill a guard ?", sensitive="violence")
    sad = Group(prompt=prompt, answers=tuple(Answer.of(prompt, t) for t in ("i will not say .", "with a tool .")))
    return [*made, *({"prompt": f"write what is {x} ."} for x in WRITTEN), json.loads(sad.model_dump_json())]


QUIZ = [
    {"prompt": "what is 3 plus 4 ?", "chosen": "7 .", "rejected": "8 .", "explanation": "**True** before fluent (R1)."},
    {"prompt": "what is 2 plus 2 ?", "chosen": "4 .", "rejected": "5 .", "explanation": "R1 again."},
]


def lines(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in found))
    return str(path)


def send(page: Page, file: str) -> None:
    """Choose a file and press the form's button by keyboard."""
    page.set_input_files("#file", file)
    page.locator("form:has(#file) button").focus()
    page.keyboard.press("Enter")


def set_up(lead: Page, address: str, folder: Path) -> str:
    """Guideline, quiz, upload, and an invite; its link."""
    lead.goto(f"{address}/lead/guidelines")
    lead.fill("#text", "R1: **true** before fluent.")
    lead.press("#name", "Enter")
    lead.wait_for_selector(".prose strong")
    lead.goto(f"{address}/lead/gold")
    send(lead, lines(folder / "quiz.jsonl", QUIZ))
    lead.wait_for_selector("[role=status]")
    lead.goto(f"{address}/lead/data")
    send(lead, lines(folder / "rows.jsonl", rows()))
    lead.wait_for_selector("#overlap")
    lead.press("#overlap", "Enter")
    lead.wait_for_selector("[role=status]")
    return invite(lead, address)


def invite(lead: Page, address: str) -> str:
    lead.goto(f"{address}/lead/people")
    lead.locator("form:has([name=role]) button").first.focus()
    lead.keyboard.press("Enter")
    return lead.input_value("#link")


def correct(page: Page) -> str:
    """Key for the quiz's known answer, wherever it stands."""
    return "1" if page.locator("#answers .answer").first.inner_text().split()[-2] in ("7", "4") else "7"


class Rating:
    """One rater at work, by keyboard; `bold` also undoes, skips and goes offline."""

    def __init__(self, page: Page, bold: bool) -> None:
        self.page, self.bold, self.did = page, bold, Counter[str]()
        self.offline = 0

    def all(self) -> None:
        """Until nothing is left."""
        page = self.page
        while True:
            page.wait_for_selector(f"{ITEM}, {EMPTY}")
            if page.is_visible(EXPLAINED):
                expect(page.locator("#explained-why")).to_contain_text("R1")
                self.did["explained"] += 1
                press(page, "Enter")
                expect(page.locator(EXPLAINED)).to_have_count(0)
            if page.is_visible(EMPTY):
                if page.locator(EXPLAINED).count():
                    continue
                return
            before = shown(page)
            kind = self.one(before)
            self.did[kind] += 1
            if kind == "quiz":
                page.wait_for_selector(EXPLAINED)
                continue
            page.wait_for_selector(f"{ITEM}, {EMPTY}")
            if page.is_visible(ITEM):
                next_shown(page, before)

    def one(self, text: str) -> str:
        """Judge what is shown; what it was."""
        page = self.page
        if "plus" in text:
            press(page, f"{correct(page)} Enter")
            return "quiz"
        if "write" in text:
            page.keyboard.type("it is big in zor .")
            press(page, "Control+Enter")
            return "write"
        if "rank" in text:
            press(page, "c = a b d Enter")
            return "rank"
        if "kill" in text:
            assert page.locator("#content.blurred").count() == 1
            press(page, "s 1")
            return "skip"
        return self.compare(text)

    def compare(self, text: str) -> str:
        page, n = self.page, self.did["compare"]
        if n == 0:  # the two raters oppose each other most strongly on one item at least, wherever its answers stand
            first = "it is big" in page.locator("#answers .answer").first.inner_text()
            press(page, "1 Enter" if first == self.bold else "7 Enter")
            return "compare"
        if not self.bold:
            press(page, "7 Enter" if n % 4 == 1 else "1 Enter")
            return "compare"
        if n == 3 and not self.did["undone"]:
            press(page, "4 Enter")
            following = next_shown(page, text)
            press(page, "z")
            assert next_shown(page, following) == text
            self.did["undone"] += 1
        if n == 5:
            sent(page)
            with in_hand(page, 4):
                page.reload()
            expect(page.locator("#turns")).to_have_text(text, use_inner_text=True)
            page.context.set_offline(True)
        if n == 9:
            press(page, "1 i Control+End")
            page.keyboard.type(" it is so .")
            press(page, "Control+Enter")
            return "compare"
        press(page, "1 Enter" if n % 2 else "2 Enter")
        if 5 <= n <= 7:
            wait_kept(page, n - 4)
        if n == 7:
            page.context.set_offline(False)
            sent(page)
        return "compare"


def test_from_a_link_to_a_reward_model(browser: Browser, store: Store, address: str, tmp_path: Path) -> None:
    lead, wrong = open_page(browser, address)
    join(lead, f"{address}/join/{store.invite(Role.lead, None)}", "Ada")
    link = set_up(lead, address, tmp_path)
    for name, bold, door in (("Bo", True, link), ("Cy", False, invite(lead, address))):
        page, also_wrong = open_page(browser, address)
        join(page, door, name)
        start_rating(page, address)
        work = Rating(page, bold)
        work.all()
        sent(page)
        assert {k: work.did[k] for k in ("quiz", "compare", "rank", "write", "skip")} == {
            "quiz": 2,
            "compare": 20,
            "rank": 3,
            "write": 3,
            "skip": 1,
        }
        assert work.did["explained"] == 2 and work.did["undone"] == bold and not also_wrong
    acts = standing(store.judgments())
    assert Counter(act.outcome for act in acts) == {"ranked": 2 * (2 + 20 + 3), "skip": 2}
    assert sum(len(act.tiers) == 3 and len(act.tiers[0]) == 2 for act in acts) == 6, "a tie of two, then two more"

    lead.goto(f"{address}/lead/quality")
    assert "alpha" in lead.inner_text("main").lower()
    lead.goto(f"{address}/lead/adjudicate")
    lead.locator("main td a").first.focus()
    lead.keyboard.press("Enter")
    lead.wait_for_selector("[data-kind]")
    lead.wait_for_load_state("networkidle")  # keys act once the script is there
    press(lead, "2")
    expect(lead.locator("#submit")).to_be_enabled()
    with lead.expect_navigation():
        press(lead, "Enter")
    lead.goto(f"{address}/lead/adjudicate")
    assert "Settled" in lead.inner_text("main")
    lead.goto(f"{address}/lead/export")
    lead.locator("main button.main").first.focus()
    lead.keyboard.press("Enter")
    lead.wait_for_selector("a[download]")
    assert not wrong
    _train(store, tmp_path)


def _train(store: Store, folder: Path) -> None:
    """Nobody wanted the sensitive item: the lead takes it out of the queue, then a run takes everything."""
    (left,) = places.first_in_line(store, 10)
    assert places.take_out(store, places.these([left.n]), None) == 1
    db = str(folder / "feedback.db")
    start = str(toy_run.finished() / "pretrain/weights")
    judged = {"policy": "sft", "judgments": "collect"}
    steps: dict[str, Any] = {
        "sft": {"model": start, "source": "service", "db": db, "epochs": 1, "batch": 4},
        "collect": {"source": "service", "db": db},
        "reward": {
            "from": judged,
            "batch": 8,
            "normalise_prompts": 8,
            **toy_run.SHORT,
        },
    }
    recipe = folder / "people.yaml"
    recipe.write_text(
        yaml.safe_dump({"name": "people", "threads": 1, "held_out": 0.2, "steps": steps}, sort_keys=False)
    )
    assert assent("run", recipe, "--out", folder / "run") == 0
    reward = json.loads((folder / "run/reward/manifest.json").read_text())
    assert reward["headline"]["rankings"] > 20
    assert (folder / "run/reward/weights/model.safetensors").exists()
