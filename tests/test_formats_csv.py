"""CSV of our own: no cell is a formula, whatever it holds, and reading it back gives what was written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.core.records import Answer, Group, Judgment, Prompt, Rater
from assent.feedback.export import export
from assent.feedback.export_options import Options, Type
from assent.formats import load, read_preferences
from assent.formats.csv_cells import decode, encode, to_text
from assent.formats.feedback import Feedback

CASES = [
    ("plain", "plain"),
    ("=1+1", "'=1+1"),
    ("+49 30", "'+49 30"),
    ("-rf", "'-rf"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", r'"\t=1"'),
    ("＝1+1", "'＝1+1"),
    ("'=1", "''=1"),
    ("''=1", "'''=1"),
    ("'tis", "'tis"),
    ("it's =1", "it's =1"),
    ("a;=1", r'"a;\u003d1"'),
    ("a\n-b", r'"a\n-b"'),
    ('say "=1"', r'"say \"\u003d1\""'),
    ("3", '"3"'),
    ("-5", r'"\u002d5"'),
    ("true", '"true"'),
    ("null", '"null"'),
    ("NaN", '"NaN"'),
    ("[1]", '"[1]"'),
    ("", '""'),
    (None, ""),
    (-1.5, "-1.5"),
    (3, "3"),
    (True, "true"),
    ([{"role": "user", "content": "x;=1"}], r'[{"role": "user", "content": "x;\u003d1"}]'),
]


@pytest.mark.parametrize(("value", "cell"), CASES, ids=[cell for _, cell in CASES])
def test_cells_by_hand(value: Any, cell: str) -> None:
    assert encode(value) == cell
    back = decode(cell)
    assert back == value and type(back) is type(value)


word = st.text(st.characters(codec="utf-8")) | st.text("=+-@';\t\r\n \"\\[]{}0123x,")
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | word
value = scalar | st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": word}), max_size=2)


column = word.filter(lambda name: name not in ("prompt", "format"))
rows_of = st.builds(lambda asked, rest: {"prompt": asked, **rest}, word, st.dictionaries(column, value, max_size=3))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(rows_of, min_size=1, max_size=3))
def test_rows_come_back_and_hold_no_formula(rows: list[dict[str, Any]]) -> None:
    text = to_text(rows)
    # A spreadsheet set to `;` cuts elsewhere: what it finds there must be no formula either.
    for delimiter in ",;":
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            starts = {cell: cell.lstrip("\t\r\n")[:1] for cell in cells}
            assert not [cell for cell, sign in starts.items() if sign and sign in "=+-@＝＋－＠" and not _number(cell)]
    found = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    back = [{str(decode(name)): decode(cell) for name, cell in row.items() if name != "format"} for row in found]
    kept = [{name: each for name, each in row.items() if each is not None} for row in back]
    assert kept == [{name: each for name, each in row.items() if each is not None} for row in rows]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def group_of(prompt: Prompt, *texts: str) -> Group:
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(texts)))


def hostile() -> Feedback:
    """Formulas as question, answer, tag and name of a tag; numbers as text; an answer of 200,000 characters."""
    tags = {"=name": "=HYPERLINK(A1)", "number": "007", "level": 3, "share": -0.5, "sure": True, "empty": ""}
    chat = [group_of(Prompt.ask(f"=cmd|'/c calc'!A{i}", **tags), f"x;=1;{i}", "y" * 200_000) for i in range(2)]
    plain = [group_of(Prompt.of("- one\n+ two"), "3", ""), group_of(Prompt.of("'=quoted"), "\r\n=a", '"=b"')]
    judgments = [
        Judgment(id=f"j{i}", group=g.id, rater="r", tiers=tuple((a.id,) for a in g.answers), scores={"margin": -1.0})
        for i, g in enumerate([*chat, *plain])
    ]
    return Feedback([*chat, *plain], judgments, [Rater(id="r", kind="human")], [])


@pytest.mark.parametrize("type_", ["preference", "unpaired", "completion"])
def test_an_export_reads_back_as_the_same_rows_as_json_lines(tmp_path: Path, type_: Type) -> None:
    best = type_ == "completion"
    for shape in ("csv", "trl"):
        export(hostile(), tmp_path / shape, Options(shape, type=type_, best=best))  # type: ignore[arg-type]
    for stem in ("train", "train-text"):
        ours, lines = (
            [row.columns for row in load.read(tmp_path / shape / f"{stem}.{end}")]
            for shape, end in (("csv", "csv"), ("trl", "jsonl"))
        )
        assert ours == lines and len(ours) >= 2
        # No number became text, no text a number.
        assert json.dumps(ours) == json.dumps(lines)


def test_a_preference_is_a_row_with_trls_columns_and_trains_from_it(tmp_path: Path) -> None:
    sheet = export(hostile(), tmp_path / "csv", Options("csv"))
    assert [(f["name"], f["rows"]) for f in sheet["files"]] == [("train-text.csv", 2), ("train.csv", 2)]
    with (tmp_path / "csv/train.csv").open(newline="", encoding="utf-8") as file:
        head, first, _ = csv.reader(file)
    assert head[:5] == ["prompt", "chosen", "rejected", "margin", "weight"] and head[-1] == "format"
    assert "'=name" in head and first[head.index("'=name")] == "'=HYPERLINK(A1)"
    assert json.loads(first[0]) == [{"role": "user", "content": "=cmd|'/c calc'!A0"}]
    back = read_preferences(tmp_path / "csv")
    better = {(g.prompt.text, g.answers[[a.id for a in g.answers].index(j.tiers[0][0])].text) for g, j in pairs(back)}
    assert better == {
        ("=cmd|'/c calc'!A0", "x;=1;0"),
        ("=cmd|'/c calc'!A1", "x;=1;1"),
        ("- one\n+ two", "3"),
        ("'=quoted", "\r\n=a"),
    }
    assert {judgment.scores["margin"] for judgment in back.judgments if judgment.scores} == {-1.0}


def pairs(found: Any) -> list[tuple[Group, Judgment]]:
    groups = found.groups_by_id()
    return [(groups[judgment.group], judgment) for judgment in found.judgments]


def test_cells_of_other_peoples_files_are_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text('prompt,chosen,rejected,format\n\'=a,\'-b,[1],short\n\'=c,007,"""d""",\n', encoding="utf-8")
    assert [row.columns for row in load.read(path)] == [
        {"prompt": "'=a", "chosen": "'-b", "rejected": "[1]", "format": "short"},
        {"prompt": "'=c", "chosen": "007", "rejected": '"d"'},
    ]
