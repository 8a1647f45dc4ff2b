"""Pictures of every screen of the rating service, light, dark and on a phone, into docs/images/.

    .venv/bin/python scripts/screens.py [NAME ...]

Needs the development packages and a Chromium at /usr/bin/chromium. The project is the one of `assent serve --demo`.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from argon2 import PasswordHasher  # noqa: E402
from PIL import Image  # noqa: E402

from assent.core.records import Answer, Group, Prompt  # noqa: E402
from assent.feedback import queue  # noqa: E402
from assent.feedback.demo import LEAD, RATERS, DemoClock, fill  # noqa: E402
from assent.feedback.records import Queue, Role  # noqa: E402
from assent.feedback.store import Store  # noqa: E402
from assent.web import demo_models  # noqa: E402
from browser_tools import ITEM, next_shown, shown  # noqa: E402
from web_tools import serving  # noqa: E402

IMAGES = ROOT / "docs/images"
LOOKS: dict[str, dict[str, Any]] = {
    "": {"viewport": {"width": 1100, "height": 760}, "color_scheme": "light"},
    "-dark": {"viewport": {"width": 1100, "height": 760}, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
}
RATER = {"work": "/work", "guideline": "/guideline", "settings": "/work/settings"}
PAGES = {
    "lead": "/lead",
    "pool": "/lead/pool?by=first+language",
    **{
        name: f"/lead/{name}"
        for name in (
            *("quality", "people", "adjudicate", "contests", "gold", "queue", "guidelines"),
            *("sample", "export", "access", "audit"),
        )
    },
}


class Service(NamedTuple):
    """The demonstration: its address, everybody's password, its store."""

    address: str
    password: str
    store: Any


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """The demonstration, served."""
    clock, password = DemoClock(time.time), "a long password"
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with Store.open(str(folder / "demo.db"), create=True, clock=clock, hasher=cheap) as store:
        fill(store, clock, password)
        settings = {"endpoints": demo_models.ENDPOINTS, "models": demo_models.client()}
        with serving(store, folder, **settings) as address:
            yield Service(address, password, store)


def main() -> None:
    """Take the pictures that are named, or all."""
    from playwright.sync_api import sync_playwright

    wanted = set(sys.argv[1:])
    with TemporaryDirectory() as folder, service(Path(folder)) as demo, sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for suffix, look in LOOKS.items():
            page = browser.new_context(**look).new_page()
            for name in (name for screens in PEOPLE.values() for name in screens(page, demo)):
                if not wanted or name in wanted:
                    save(page, IMAGES / f"{name}{suffix}.png")
        browser.close()


def save(page: Any, path: Path) -> None:
    """A picture of what stands on the screen, with as few colours as show no difference."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(96).save(path, optimize=True)
    print(path.relative_to(ROOT))


def sign_in(page: Any, demo: Service, name: str) -> None:
    """From now on the page is this person's."""
    page.context.clear_cookies()
    page.goto(f"{demo.address}/sign-in")
    page.fill("#name", name)
    page.fill("#password", demo.password)
    page.keyboard.press("Enter")
    page.wait_for_selector("header.top")


def nobody(page: Any, demo: Service) -> Iterator[str]:
    """Who is not signed in. Like the others: names each screen when it stands on the page."""
    page.context.clear_cookies()
    page.goto(f"{demo.address}/sign-in")
    yield "sign-in"
    page.goto(f"{demo.address}/join/{demo.store.invite(Role.rater, None)}")
    yield "join"


def rater(page: Any, demo: Service) -> Iterator[str]:
    """Somebody who has judged for days."""
    sign_in(page, demo, RATERS[0].name)
    yield from _rating(page, demo.address)
    for name, path in RATER.items():
        page.goto(demo.address + path)
        yield name
    yield from _chat(page, demo.address)


def lead(page: Any, demo: Service) -> Iterator[str]:
    """The lead's pages."""
    sign_in(page, demo, LEAD)
    for name, path in PAGES.items():
        page.goto(demo.address + path)
        yield name
    for name, path, link in (
        ("adjudicate-case", "/lead/adjudicate", page.locator("main td a").first),
        ("person", "/lead/people", page.get_by_role("link", name="Dana")),
    ):
        page.goto(demo.address + path)
        page.goto(demo.address + link.get_attribute("href"))
        yield name
    rows = [{"prompt": f"What is {n} plus {n}?", "chosen": f"{2 * n}.", "rejected": f"{n}."} for n in range(2, 8)]
    text = "\n".join(json.dumps(row) for row in [*rows, {"prompt": "Write a line about spring."}, {"prompt": 7}])
    page.goto(f"{demo.address}/lead/data")
    page.set_input_files("#file", {"name": "rows.jsonl", "mimeType": "text/plain", "buffer": text.encode()})
    page.click("main button.main")
    page.wait_for_selector("#overlap")
    yield "data"


def newcomer(page: Any, demo: Service) -> Iterator[str]:
    """Somebody new: the quiz and what was known, a sensitive item, a ranking, an answer to write."""
    store = demo.store
    name = f"Nour {len(store.people())}"
    person = store.accept(store.invite(Role.rater, None), name, demo.password)
    store.read_guideline(person, store.guideline().version)
    _first_in_line(store)
    sign_in(page, demo, name)
    page.goto(f"{demo.address}/rate")
    for n in range(2):
        page.wait_for_selector(ITEM)
        first = page.locator("#answers .answer").first.inner_text()
        page.keyboard.press("2" if "Eight" in first or "Bonjour." in first else "6")
        page.keyboard.press("Enter")
        page.wait_for_selector("#explained[open]")
        if n == 0:
            yield "explained"
        page.keyboard.press("Enter")
    for name, keys in (("sensitive", ""), ("rank", "c = a b d"), ("write", "")):
        page.wait_for_selector(ITEM)
        for key in keys.split():
            page.keyboard.press(key)
        if name == "write":
            page.keyboard.type("Rivers carry salt from the rocks.")
        yield name
        before = shown(page)
        for key in {"sensitive": "s 1", "rank": "Enter", "write": "Escape"}[name].split():
            page.keyboard.press(key)
        if name != "write":
            next_shown(page, before)
    page.keyboard.press("Escape")
    yield "panic"


def _first_in_line(store: Any) -> None:
    """One of each kind that the rating screens show otherwise only by chance."""
    sad = Prompt.ask("My dog died yesterday. What can I do with his things?", sensitive="grief")
    pair = [Answer.of(sad, text) for text in ("Keep one, give the rest away when you are ready.", "Throw them out.")]
    names = Prompt.ask("Give me a name for a boat.")
    four = [Answer.of(names, text) for text in ("Petrel", "Boaty", "The Endurance of All Seas", "Boat")]
    salt = Prompt.ask("Why is the sea salty? One sentence.")
    store.add_groups([Group(prompt=sad, answers=tuple(pair))], "compare", overlap=50)
    store.add_groups([Group(prompt=names, answers=tuple(four))], "rank", overlap=50)
    store.add_prompts([salt], overlap=50)
    blank = queue.blank(salt)
    groups = (Group(prompt=sad, answers=tuple(pair)), Group(prompt=names, answers=tuple(four)), blank)
    store.rank({group.id: -9.0 + k for k, group in enumerate(groups)})
    store.set_queue(Queue(gold=0, repeat=0, control=0))


def _rating(page: Any, address: str) -> Iterator[str]:
    """The rating screen in its kinds and states, as far as the queue leads; nothing is submitted but skips."""
    page.goto(f"{address}/rate")
    page.wait_for_selector(ITEM)
    page.keyboard.press("2")
    page.keyboard.press("q")
    yield "compare"
    page.keyboard.press("i")
    page.keyboard.press("Control+End")
    page.keyboard.type(" I checked it twice.")
    yield "ideal"
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    yield "skip"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    yield "keys"
    page.keyboard.press("Escape")


def _chat(page: Any, address: str) -> Iterator[str]:
    page.goto(f"{address}/chat")
    yield "chat-start"
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("textarea:visible")
    page.keyboard.type("How do I keep basil alive in winter?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answers .answer >> nth=1")
    page.keyboard.press("2")
    yield "chat"
    page.click("#stop")
    page.wait_for_selector("#start:not([hidden])")


PEOPLE = {"nobody": nobody, "rater": rater, "newcomer": newcomer, "lead": lead}

if __name__ == "__main__":
    main()
