"""Every text of the service stands in a catalogue, German is whole, and a service speaks one language."""

from __future__ import annotations

import html
import importlib.util
import re
import secrets
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from babel.messages.pofile import read_po
from fastapi.testclient import TestClient
from jinja2 import nodes

from assent.core.errors import ConfigError
from assent.feedback import adjudication
from assent.feedback.demo import LEAD, DemoClock, fill
from assent.feedback.records import Person
from assent.feedback.store import Store
from assent.web import language, words
from assent.web.demo_models import ENDPOINTS
from assent.web.page import MENU, TEMPLATES
from assent.web.sampling import Job, Plan
from web_tools import HASHER, PASSWORD, client, token_in

ROOT = Path(__file__).parent.parent
WEB = ROOT / "src" / "assent" / "web"
COMMAND = "python scripts/catalogue.py"
PLACE = re.compile(r"%\(\w+\)s|%%|\{\w+\}|</?\w+>")
"""What a translation must hold as the text does: values, signs, tags."""
BARE = {"Assent", "A", "B"}
"""Words that are the same in every language."""
ALIKE = {"Chat", "Name", "Link", "Text", "Start"}
PROBLEMS = [("p", "all 2 answers are the same"), ("q", "my model cannot be reached: ConnectError")]
Texts = dict[tuple[str, str | None], str]


@cache
def texts(name: str) -> Texts:
    """(Text, context) -> translation."""
    with (language.LOCALES / name).open("rb") as file:
        return {(str(each.id), each.context): str(each.string) for each in read_po(file) if each.id}


def german() -> Texts:
    return texts("de/LC_MESSAGES/messages.po")


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, Person]]]:
    """The same each time: what the demonstration does hangs on ids, which are drawn."""
    clock, draw = DemoClock(time.time), Random(0)
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    with Store.open(str(path), create=True, clock=clock, hasher=HASHER) as store:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("token_hex", "token_urlsafe"):
                patch.setattr(secrets, name, lambda n: draw.randbytes(n).hex())
            people = fill(store, clock, PASSWORD)
        yield store, people


def service(store: Store, folder: Path, code: str) -> TestClient:
    """A service with models, the lead signed in."""
    http = client(store, folder, language=code, endpoints=ENDPOINTS)
    form = {"name": LEAD, "password": PASSWORD, "csrf": token_in(http.get("/sign-in").text)}
    assert http.post("/sign-in", data=form).status_code == 303
    return http


def shown(page: str) -> set[str]:
    """Texts of a page: between tags, in labels, and those its scripts write."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    said = re.findall(r'\b(?:aria-label|placeholder|data-(?!deed|for|kind|state|value)[\w-]+)="([^"]*)"', page)
    said += re.split(r"<[^>]*>", page)
    return {" ".join(html.unescape(each).split()) for each in said}


def test_the_template_holds_every_text_of_the_service() -> None:
    found = {(str(each.id), each.context) for each in script().collect() if each.id}
    known = set(texts("messages.pot"))
    assert found == known, f"run {COMMAND}; new: {sorted(found - known)[:5]}, gone: {sorted(known - found)[:5]}"


def test_german_is_whole_and_keeps_what_stands_in_the_texts() -> None:
    assert set(german()) == set(texts("messages.pot")), f"run {COMMAND}"
    assert not [text for (text, _), there in german().items() if not there]
    broken = [t for (t, _), there in german().items() if sorted(PLACE.findall(t)) != sorted(PLACE.findall(there))]
    assert not broken
    # A translation is put into attributes as it is.
    assert not [there for there in german().values() if '"' in there]


def test_no_template_holds_a_bare_text() -> None:
    for path in sorted((WEB / "templates").glob("*.j2")):
        tree = TEMPLATES.parse(path.read_text(encoding="utf-8"))
        for block in tree.find_all(nodes.Block):
            if block.name in ("width", "body"):  # attributes, no text
                block.body = []
        source = "\0".join(each.data for each in tree.find_all(nodes.TemplateData))
        labels = re.findall(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"', source)
        source = re.sub(r"<(pre|code|kbd)\b.*?</\1>|<[^>]*>|/[\w/.]+", " ", source, flags=re.DOTALL)
        bare = set(re.findall(r"[A-Za-z]+", html.unescape(" ".join([source, *labels])))) - BARE
        assert not bare, f"{path.name}: {bare}"


def test_no_script_holds_a_text() -> None:
    for path in sorted((WEB / "static").glob("*.js")):
        source = re.sub(r"(?m)(^|\s)//.*$", "", path.read_text(encoding="utf-8"))
        found = re.findall(
            r'"[A-Z][a-z]+ [a-z][^"]*"|`[A-Z][a-z]+ \$\{[^`]*`|`\$\{\w+\} [a-z][^`]*`|textContent = "[^"]+"', source
        )
        assert not found, f"{path.name}: {found}"


def pages(store: Store, people: dict[str, Person]) -> list[str]:
    """Every page that a lead can look at."""
    case = adjudication.cases(store)[0].group.id
    more = ["/work/settings", f"/lead/adjudicate/case?group={case}", "/lead/gold/item?item=1"]
    ids = [people[LEAD].id, *(each.id for name, each in people.items() if name != LEAD)][:2]
    more += [f"/lead/people/{id}" for id in ids] + ["/lead/pool?by=age", "/lead/gold/pick", "/lead/queue/reask"]
    more += [f"/lead/queue?rater={ids[1]}", "/lead/guidelines?number=1", "/lead/quality?measured=1", "/no-such-page"]
    return [path for pages in MENU.values() for _, path, _ in pages] + more


def test_a_german_service_shows_no_english(project: tuple[Store, dict[str, Person]], tmp_path: Path) -> None:
    store, people = project
    http = service(store, tmp_path, "de")
    english = {text for (text, _), there in german().items() if text != there} - set(german().values()) - ALIKE
    http.app.state.sampling.job = Job(Plan((), ()), "done", problems=PROBLEMS)  # type: ignore[attr-defined]
    stranger = client(store, tmp_path, language="de")
    for path in [*pages(store, people), "/sign-in", "/join/none", "/reset/none"]:
        page = (stranger if path in ("/sign-in", "/join/none", "/reset/none") else http).get(path).text
        assert '<html lang="de">' in page, path
        codes = set(words.ROLES) if path == "/lead/audit" else set()  # of what the log says: data, as it was written
        assert not shown(page) & english - codes, f"{path}: {shown(page) & english - codes}"
        menu = re.search(r"<nav.*?</nav>", page, re.DOTALL)
        if menu:
            labels = {*MENU, *(label for group in MENU.values() for _, _, label in group)}
            assert not shown(menu[0]) & labels - {"Quiz"}, path
    page = http.get("/lead/sample").text
    assert "alle 2 Antworten sind gleich" in page and "my model ist nicht zu erreichen: ConnectError" in page


def test_two_services_in_one_process_speak_each_its_own(
    project: tuple[Store, dict[str, Person]], tmp_path: Path
) -> None:
    here, there = (service(project[0], tmp_path, code) for code in ("en", "de"))
    for _ in range(2):
        page, seite = here.get("/lead").text, there.get("/lead").text
        assert '<html lang="en">' in page and "Sign out" in page and "Judgments" in page
        assert '<html lang="de">' in seite and "Abmelden" in seite and "Urteile" in seite
        assert "Abmelden" not in page and "Sign out" not in seite
    assert language.gettext("Sign out") == "Sign out"


def test_what_the_store_refuses_is_said_in_german_with_its_values(
    project: tuple[Store, dict[str, Person]], tmp_path: Path
) -> None:
    http = service(project[0], tmp_path, "de")
    csrf = token_in(http.get("/work").text)
    form = {"csrf": csrf, "gold": "60", "repeat": "50", "control": "0", "conflict": "0", "quiz_pass": "80"}
    page = http.post("/lead/queue/mix", data=form).text
    assert "Die vier Anteile sind zusammen 110 %. 100 % ist das Höchste; nichts wurde geändert." in page
    form = {"csrf": csrf, "prompts": "Why?", "endpoint": ENDPOINTS[0].name, "answers": "9"}
    assert "Antworten pro Prompt: eine Zahl von 2 bis 4." in http.post("/lead/sample", data=form).text
    answer = http.post("/api/chat/stop", json={"chat": "none"}, headers={"x-csrf-token": csrf})
    assert answer.json()["message"] == "diese Unterhaltung gibt es nicht"
    assert http.get("/api/v1/judgments?acts=none").json()["message"].startswith("acts is `standing`")


def test_codes_and_what_people_wrote_stay(project: tuple[Store, dict[str, Person]], tmp_path: Path) -> None:
    store, _ = project
    http = service(store, tmp_path, "de")
    page = http.get("/rate").text
    assert 'data-value="correct"' in page and "richtiger" in page and 'data-value="sensitive"' in page
    guideline = store.guideline()
    assert guideline and guideline.name in http.get("/guideline").text


def test_a_language_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError) as caught:
        language.load("xx")
    assert caught.value.exit_code == 2 and caught.value.fix == "choose one of: de, en"
