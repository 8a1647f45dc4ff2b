"""What is wrong with a file or a form is said in the language of the service, the sentences within sentences too.

The service speaks a language in which every text of the catalogue stands in «marks», and no other text does.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from assent.feedback.records import Role
from assent.web import language
from assent.web.demo_models import ENDPOINTS
from test_web_language import script
from web_tools import client, join, open_store

USER, SYSTEM = {"role": "user", "content": "q"}, {"role": "system", "content": "s"}
MODEL = {"role": "assistant", "content": "a"}
ROWS: dict[str, object] = {
    "no object": [1],
    "no column": {},
    "unknown columns": {"x": 1},
    "no text": {"prompt": 1, "chosen": "a", "rejected": "b"},
    "same answers": {"prompt": "p", "chosen": "a", "rejected": "a"},
    "empty prompt": {"prompt": "", "chosen": "a", "rejected": "b"},
    "prompt of the model": {"prompt": [MODEL]},
    "no prompt": {"chosen": [MODEL], "rejected": [{**MODEL, "content": "b"}]},
    "a late system message": {"prompt": [USER, SYSTEM]},
    "two system messages": {"prompt": [SYSTEM, SYSTEM, USER]},
    "no message": {"prompt": ["x"]},
    "a role of nobody": {"prompt": [{"role": "boss", "content": "x"}]},
    "no margin": {"prompt": "p", "chosen": "a", "rejected": "b", "margin": "x"},
    "images": {"prompt": "p", "images": ["a"]},
    "a key that is missing": {"id": "g", "prompt": {"id": "p"}, "answers": []},
    "a key too many": {"id": "g", "prompt": {"id": "p", "messages": [USER]}, "answers": [], "type": "x"},
    "a value of another type": {"id": "g", "prompt": {"id": "p", "messages": [USER]}, "answers": [{"id": 1}]},
    "one id twice": {"id": "g", "prompt": {"id": "p", "messages": [USER]}, "answers": [{"id": "a", "text": "x"}] * 2},
    "too many answers": {
        "id": "g",
        "prompt": {"id": "p", "messages": [USER]},
        "answers": [{"id": f"a{i}", "text": f"x{i}"} for i in range(10)],
    },
    "a judgment": {"id": "j", "group": "g", "rater": "r", "tiers": [["a"], ["b"]]},
}
FILES = {
    "b.json": b"{",
    "c.csv": b"prompt,chosen,rejected\na,b\n",
    "d.parquet": b"x",
    "e.json": b"3",
    "f.csv": b"\xff,\n",
}


@pytest.fixture(scope="module")
def lead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    """A lead at a service of marked texts, and the CSRF token."""
    folder, catalogue = tmp_path_factory.mktemp("marked"), script().collect()
    for each in catalogue:
        each.string = f"«{each.id}»" if each.id else each.string
    marks = language.of("de", catalogue)
    with open_store(folder) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("assent.web.app.load", lambda code: marks)
        http = client(store, folder, endpoints=ENDPOINTS)
        yield http, join(store, http, Role.lead, "Ada")


def marked(text: str) -> bool:
    """Whether a text is one of the catalogue, or a number."""
    return text.isdecimal() or (text.startswith("«") and text.endswith("»"))


def refused(lead: tuple[TestClient, str], name: str, content: bytes) -> list[tuple[str, str]]:
    page = lead[0].post("/lead/data", data={"csrf": lead[1]}, files={"file": (name, content)}).text
    return re.findall("<tr><td>(.*?)</td><td>(.*?)</td></tr>", html.unescape(page))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_why_a_row_is_refused_is_a_text_of_the_catalogue(lead: tuple[TestClient, str], row: object) -> None:
    ((place, why),) = refused(lead, "rows.jsonl", json.dumps(row).encode())
    assert place == "«line 1»" and marked(why), why


@pytest.mark.parametrize("name", FILES)
def test_why_a_file_is_refused_is_a_text_of_the_catalogue(lead: tuple[TestClient, str], name: str) -> None:
    ((place, why),) = refused(lead, name, FILES[name])
    assert marked(place) and marked(why), (place, why)


def test_what_python_says_of_json_is_said_in_the_language(lead: tuple[TestClient, str]) -> None:
    known = {"{": "Expecting property name enclosed in double quotes", "[1 2]": "Expecting ',' delimiter"}
    known |= {'{"a" 1}': "Expecting ':' delimiter", '["a': "Unterminated string starting at", "[": "Expecting value"}
    for text, says in (known | {"{} 1": "Extra data"}).items():
        ((_, why),) = refused(lead, "rows.json", text.encode())
        assert f"«not JSON: «{says}» at column " in why


def test_answers_that_are_too_many_together_are_refused_in_the_language(lead: tuple[TestClient, str]) -> None:
    rows = "\n".join(json.dumps({"prompt": "many", "completion": f"a{i}"}) for i in range(10))
    assert refused(lead, "rows.jsonl", rows.encode()) == [("many", "«10 answers to one prompt; 9 are the most»")]


def test_a_sentence_in_a_sentence_is_said_in_the_language(lead: tuple[TestClient, str]) -> None:
    http, token = lead
    form = {"csrf": token, "endpoint": ENDPOINTS[0].name, "answers": "2", "overlap": "1", "seed": "1"}
    for row, why in ((b"[1]", "«not a JSON object»"), (b'{"x": 1}', "«columns x are no known shape»")):
        page = http.post("/lead/sample", data=form, files={"file": ("rows.jsonl", row)})
        assert page.status_code == 400
        assert f"«1 rows cannot be read. The first, «line 1»: {why}.»" in html.unescape(page.text)
