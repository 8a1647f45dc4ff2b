"""The export page: what passes each filter by hand, the command's own bytes, one message for a bad choice."""

from __future__ import annotations

import ast
import html
import io
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from assent.cli.feedback import SHAPES
from assent.core.hashing import tree_hash
from assent.core.records import Judgment, Rater
from assent.feedback.export_options import READERS, Shape
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.web import builder
from toy_run import assent
from web_tools import client, groups, join, open_store

SOURCE = Path(__file__).parent.parent / "src" / "assent"
V1, V2 = "v1" * 8, "v2" * 8
Pairs = list[tuple[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    """A lead's browser. Ada and Bob agree on group 0, not on 1; Bob skips group 2; on 3 Ada ties, GPT does not."""
    made = groups(4)
    acts = [
        judge(made[0], "ada", (0, 1), V1),
        judge(made[0], "bob", (0, 1), V2),
        judge(made[1], "ada", (0, 1), V1),
        judge(made[1], "bob", (1, 0), V2),
        judge(made[2], "ada", (0, 1), V1, ideal="The best answer."),
        judge(made[2], "bob", (), V2),
        judge(made[3], "ada", ((0, 1),), V1),
        judge(made[3], "gpt", (0, 1), None),
    ]
    people = [Rater(id="ada", kind="human", attributes={"team": "red"}), Rater(id="bob", kind="human")]
    store.add_judgments(made, acts, [*people, Rater(id="gpt", kind="model")])
    http = client(store, tmp_path)
    http.headers["x-csrf-token"] = join(store, http, Role.lead, "Lead")
    return http


def judge(group: Any, rater: str, order: tuple[Any, ...], guideline: str | None, **rest: Any) -> Judgment:
    """`order`: places of the answers, best first, a tie as a tuple; empty is a skip."""
    tiers = tuple(tuple(group.answers[i].id for i in (each if isinstance(each, tuple) else (each,))) for each in order)
    fields = {"outcome": "ranked" if order else "skip", "tiers": tiers, "guideline": guideline, **rest}
    return Judgment.model_validate({"id": f"{rater}-{group.id}", "group": group.id, "rater": rater, **fields})


def look(http: TestClient, chosen: Pairs, status: int = 200) -> str:
    page = http.get(f"/lead/export?{urlencode(chosen)}")
    assert page.status_code == status, page.text
    return page.text


def steps(page: str) -> dict[str, tuple[int, ...]]:
    """Filter -> judgments, groups, pairs, raters behind it."""
    found = re.findall(r'<th scope="row">([^<]*)</th>((?:<td class="n">\d+</td>)+)', page)
    return {name: tuple(map(int, re.findall(r"\d+", re.sub('"n"', "", cells)))) for name, cells in found}


def choices_of(page: str) -> str:
    found = re.search(r'name="choices" value="([^"]*)"', page)
    assert found
    return html.unescape(found[1])


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "exports").glob("*"))


def test_what_passes_each_filter_by_hand(http: TestClient, tmp_path: Path) -> None:
    chosen = [("shape", "csv:preference"), ("guideline", V1), ("guideline", V2)]
    chosen += [("kind", "human"), ("outcome", "ranked"), ("agreement", "unanimous"), ("agreement", "single")]
    page = look(http, chosen)
    # Six judgments put one answer above another: two on groups 0 and 1 each, one on groups 2 and 3.
    assert steps(page) == {
        "All that stands": (8, 4, 6, 3),
        "Guideline": (7, 4, 5, 2),
        "Kind of rater": (7, 4, 5, 2),
        "Outcome": (6, 4, 5, 2),
        "Agreement": (3, 2, 3, 2),
        "Without check items and repeats": (3, 2, 3, 2),
    }
    # The ideal answer is better than the best of group 2 that Ada was shown.
    assert re.search(r"<code>train.csv</code></td><td class=\"n\">4 rows", page)
    assert re.search(r"filter: guideline</td><td class=\"n\">1<", page)
    assert re.search(r"filter: agreement stratum</td><td class=\"n\">3<", page)
    assert not folders(tmp_path)


def test_the_sides_of_a_split_are_counted_too(http: TestClient) -> None:
    page = look(http, [("shape", "native"), ("held_out_raters", "33")])
    found = steps(page)
    assert set(found) == {"All that stands", "Training side", "Test side"}
    assert found["Test side"][3] == 1 and found["Training side"][3] == 2
    assert found["Test side"][0] + found["Training side"][0] == 8


BEST: tuple[Pairs, Pairs] = ([], [("best", "1")])
EXPORTS: list[Pairs] = [
    *([("shape", value), *BEST[value.endswith(("completion", "chat"))]] for value, *_ in builder.shapes()),
    [("shape", "csv:preference"), ("rows", "pair"), ("kind", "human"), ("held_out", "50"), ("name", "It's =1")],
    [("shape", "trl:preference"), ("margin", "strength"), ("guideline", "none"), ("guideline", V1), ("checks", "1")],
    [("shape", "openai"), ("rater", "ada"), ("rater", "gpt"), ("outcome", "ranked"), ("licence", "CC-BY-4.0")],
    [("shape", "hh"), ("agreement", "split"), ("agreement", "single"), ("limits", "English.\r\n\r\nA 'small' pool.")],
    [("shape", "parquet:unpaired"), ("held_out_raters", "12.5"), ("rater_group", "team")],
]  # fmt: skip


@pytest.mark.parametrize("chosen", EXPORTS, ids=lambda chosen: urlencode(chosen)[:60])
def test_the_page_writes_the_commands_own_bytes(http: TestClient, tmp_path: Path, chosen: Pairs) -> None:
    page = look(http, chosen)
    assert not folders(tmp_path)
    done = http.post("/lead/export/build", data={"choices": choices_of(page)})
    assert done.status_code == 303
    (folder,) = folders(tmp_path)
    shown = re.search(r"<code>(assent feedback export .*)</code>", page)
    assert shown
    words = shlex.split(html.unescape(shown[1]))
    words[words.index("STORE")] = str(tmp_path / "feedback.db")
    words[words.index("FOLDER")] = str(tmp_path / "again" / folder.name)
    assert assent(*words[1:]) == 0
    assert tree_hash(folder) == tree_hash(tmp_path / "again" / folder.name)
    rows = re.findall(r"<code>([\w./-]+)</code></td><td class=\"n\">(\d+) rows", page)
    for name, n in rows:
        assert f"<code>{name}</code> {n} rows" in http.get(done.headers["location"]).text


def test_the_zip_holds_the_datasheet_and_checksums_that_hold(http: TestClient, store: Store, tmp_path: Path) -> None:
    page = look(http, [("shape", "csv:preference"), ("name", "<b>Pairs</b>")])
    done = http.post("/lead/export/build", data={"choices": choices_of(page)})
    shown = http.get(done.headers["location"]).text
    assert "Written: 7 rows" in shown and "&lt;b&gt;Pairs&lt;/b&gt;" in shown
    (folder,) = folders(tmp_path)
    packed = http.get(f"/lead/export/{folder.name}.zip")
    zipfile.ZipFile(io.BytesIO(packed.content)).extractall(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out" / folder.name).iterdir()} == {
        "train.csv", "datasheet.json", "DATASHEET.md", "SHA256SUMS"
    }  # fmt: skip
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "out" / folder.name, capture_output=True)
    assert checked.returncode == 0
    assert [(line.action, line.what) for line in store.audit_log()[:2]] == [
        ("download", folder.name), ("export", folder.name)
    ]  # fmt: skip


BAD: list[tuple[Pairs, str]] = [
    ([("shape", "xml")], "There is no choice “xml”."),
    ([("shape", "hh:unpaired")], "There is no choice “hh:unpaired”."),
    ([("shape", "chat"), ("rows", "pair")], "“Rows” means nothing with these choices"),
    ([("shape", "openai"), ("margin", "strength")], "“Margin” means nothing with these choices"),
    ([("shape", "trl:preference"), ("best", "1")], "raters put first are answers to imitate” means nothing"),
    ([("shape", "csv:preference"), ("rater_group", "team")], "“Groups of raters” means nothing"),
    ([("shape", "csv:preference"), ("rows", "pair"), ("margin", "strength")], "has no one strength"),
    ([("shape", "native"), ("rater", "eve")], "no judgment has the rater `eve`"),
    ([("shape", "native"), ("guideline", "v3")], "no judgment has the guideline `v3`"),
    ([("shape", "native"), ("kind", "rule")], "no judgment has the kind of rater `rule`"),
    ([("shape", "native"), ("agreement", "high")], "There is no choice “high”."),
    ([("shape", "native"), ("held_out", "95")], "“95” is no share for the test side"),
    ([("shape", "native"), ("held_out", "nan")], "“nan” is no share for the test side"),
    ([("shape", "native"), ("held_out_raters", "<i>")], "“&lt;i&gt;” is no share for the test side"),
    ([("shape", "native"), ("held_out_raters", "50"), ("rater_group", "country")], "all raters are of one group"),
    ([("shape", "native"), ("name", "a\nb")], "Name and licence are one line"),
    ([("shape", "native"), ("licence", "x" * 101)], "Name and licence are one line"),
    ([("shape", "native"), ("limits", "a\x00b")], "plain lines"),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "said"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_choice_gives_one_message_and_writes_nothing(
    http: TestClient, store: Store, tmp_path: Path, chosen: Pairs, said: str
) -> None:
    shown = look(http, chosen, 400)
    log = store.audit_log()
    tried = http.post("/lead/export/build", data={"choices": urlencode(chosen)})
    assert tried.status_code == 400
    for page in (shown, tried.text):
        assert said in page.replace("&#39;", "'") and page.count('role="alert"') == 1
        assert 'name="choices"' not in page
    assert not folders(tmp_path) and store.audit_log() == log


def test_nothing_left_or_nothing_chosen_is_not_written(http: TestClient, tmp_path: Path) -> None:
    nothing = [("shape", "hh"), ("outcome", "skip")]
    page = look(http, nothing)
    assert "Nothing is left to export with these choices." in page and 'name="choices"' not in page
    for choices, said in ((urlencode(nothing), "nothing is left to export"), ("", "Choose a shape first.")):
        tried = http.post("/lead/export/build", data={"choices": choices})
        assert tried.status_code == 400 and said in tried.text
    assert not folders(tmp_path)


def test_exports_of_one_moment_have_folders_of_their_own(http: TestClient, tmp_path: Path) -> None:
    for _ in range(3):
        assert http.post("/lead/export/build", data={"choices": "shape=native"}).status_code == 303
    assert len(folders(tmp_path)) == 3


def test_what_was_chosen_stays_chosen(http: TestClient) -> None:
    page = look(http, [("shape", "csv:unpaired"), ("agreement", "split"), ("rater", "bob"), ("limits", "a\r\nb")])
    for there in (
        'value="csv:unpaired" selected', 'value="split" checked', 'value="bob" checked', "a\nb</textarea>"
    ):  # fmt: skip
        assert there in page.replace("\r", "")
    assert 'value="ada" checked' not in page


def test_page_command_and_datasheet_know_the_same_shapes() -> None:
    assert set(get_args(Shape)) == set(READERS) == set(builder.SHAPES) == set(SHAPES)


def test_every_reason_for_leaving_something_out_has_a_text() -> None:
    """So that a translation of it is asked for: whatever counts in `left_out`, values in it as {1}."""
    known = {re.sub(r"\{\d\}", "", text) for text in builder.LEFT_OUT}
    found = set()
    for name in ("formats/write.py", "feedback/export_filters.py"):
        for node in ast.walk(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "left_out":
                found |= {_text(node.slice)}
            if isinstance(node, ast.Return) and name.startswith("formats") and isinstance(node.value, ast.Constant):
                found |= {node.value.value} if isinstance(node.value.value, str) else set()
    assert {each for each in found if each} <= known and len(found) > 8


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value for part in node.values if isinstance(part, ast.Constant))
    return node.value if isinstance(node, ast.Constant) else ""
