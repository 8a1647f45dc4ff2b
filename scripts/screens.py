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
from typing import Any

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


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """The demonstration's address, its password, its store."""
    clock, password = DemoClock(time.time), "a long password"
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with Store.open(str(folder / "demo.db"), create=True, clock=clock, hasher=cheap) as store:
        fill(store, clock, password)
        settings = {"endpoints": demo_models.ENDPOINTS, "models": demo_models.client()}
        with serving(store, folder, **settings) as address:
            yield address, password, store


def main() -> None:
    """Take the pictures that are named, or all."""
    from playwright.sync_api import sync_playwright

    wanted = set(sys.argv[1:])
    with TemporaryDirectory() as folder, service(Path(folder)) as (address, password, store), sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for suffix, look in LOOKS.items():
            for name, page in screens(browser, look, address, password, store):
                if not wanted or name in wanted:
                    save(page, IMAGES / f"{name}{suffix}.png")
        browser.close()


def save(page: Any, path: Path) -> None:
    """A picture of what stands on the screen, with as few colours as show no difference."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(96).save(path, optimize=True)
    print(path.relative_to(ROOT))


def signed_in(browser: Any, look: dict[str, Any], address: str, name: str, password: str) -> Any:
    page = browser.new_context(**look).new_page()
    page.goto(f"{address}/sign-in")
    page.fill("#name", name)
    page.fill("#password", password)
    page.keyboard.press("Enter")
    page.wait_for_selector("header.top")
    return page


def screens(browser: Any, look: dict[str, Any], address: str, password: str, store: Any) -> Iterator[tuple[str, Any]]:
    """(name, page as it should be taken)."""
    nobody = browser.new_context(**look).new_page()
    nobody.goto(f"{address}/sign-in")
    yield "sign-in", nobody
    nobody.goto(f"{address}/join/{store.invite(Role.rater, None)}")
    yield "join", nobody
    rater = signed_in(browser, look, address, RATERS[0].name, password)
    yield from _rating(rater, address)
    for name, path in RATER.items():
        rater.goto(address + path)
        yield name, rater
    yield from _chat(rater, address)
    yield from _beginner(browser, look, address, password, store)
    yield from _lead(signed_in(browser, look, address, LEAD, password), address)


def _lead(page: Any, address: str) -> Iterator[tuple[str, Any]]:
    for name, path in PAGES.items():
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        yield name, page
    for name, path, link in (
        ("adjudicate-case", "/lead/adjudicate", page.locator("main td a").first),
        ("person", "/lead/people", page.get_by_role("link", name="Dana")),
    ):
        page.goto(address + path)
        link.click()
        page.wait_for_load_state("networkidle")
        yield name, page
    rows = [{"prompt": f"What is {n} plus {n}?", "chosen": f"{2 * n}.", "rejected": f"{n}."} for n in range(2, 8)]
    text = "\n".join(json.dumps(row) for row in [*rows, {"prompt": "Write a line about spring."}, {"prompt": 7}])
    page.goto(f"{address}/lead/data")
    page.set_input_files("#file", {"name": "rows.jsonl", "mimeType": "text/plain", "buffer": text.encode()})
    page.click("main button.main")
    page.wait_for_selector("#overlap")
    yield "data", page


def _beginner(browser: Any, look: dict[str, Any], address: str, password: str, store: Any) -> Iterator[tuple[str, Any]]:
    """Somebody new: the quiz and what was known, a sensitive item, a ranking, an answer to write."""
    name = f"Nour {len(store.people())}"
    person = store.accept(store.invite(Role.rater, None), name, password)
    store.read_guideline(person, store.guideline().version)
    _first_in_line(store)
    page = signed_in(browser, look, address, name, password)
    page.goto(f"{address}/rate")
    for n in range(2):
        page.wait_for_selector("#controls:not([hidden])")
        first = page.locator("#answers .answer").first.inner_text()
        page.keyboard.press("2" if "Eight" in first or "Bonjour." in first else "6")
        page.keyboard.press("Enter")
        page.wait_for_selector("#explained[open]")
        if n == 0:
            yield "explained", page
        page.keyboard.press("Enter")
    for name, keys in (("sensitive", ""), ("rank", "c = a b d"), ("write", "")):
        page.wait_for_selector("#controls:not([hidden])")
        for key in keys.split():
            page.keyboard.press(key)
        if name == "write":
            page.keyboard.type("Rivers carry salt from the rocks.")
        yield name, page
        for key in {"sensitive": "s 1", "rank": "Enter", "write": "Escape"}[name].split():
            page.keyboard.press(key)
        page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    yield "panic", page


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


def _rating(page: Any, address: str) -> Iterator[tuple[str, Any]]:
    """The rating screen in its kinds and states, as far as the queue leads; nothing is submitted but skips."""
    page.goto(f"{address}/rate")
    page.wait_for_selector("#controls:not([hidden])")
    page.keyboard.press("2")
    page.keyboard.press("q")
    yield "compare", page
    page.keyboard.press("i")
    page.keyboard.press("Control+End")
    page.keyboard.type(" I checked it twice.")
    yield "ideal", page
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    yield "skip", page
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    yield "keys", page
    page.keyboard.press("Escape")


def _chat(page: Any, address: str) -> Iterator[tuple[str, Any]]:
    page.goto(f"{address}/chat")
    yield "chat-start", page
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("textarea:visible")
    page.keyboard.type("How do I keep basil alive in winter?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answers .answer >> nth=1")
    page.keyboard.press("2")
    yield "chat", page
    page.click("#stop")
    page.wait_for_selector("#start:not([hidden])")


if __name__ == "__main__":
    main()
