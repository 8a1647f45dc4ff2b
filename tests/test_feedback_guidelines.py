"""Rules of a guideline by their ids, what a new version changes, its history, and what a rater has not read yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assent.feedback.guidelines import changed_rules, last_read, rules, versions
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.feedback.textdiff import Line, changes, words
from feedback_store import Clock, fresh_url, groups, judge, open_store, person
from web_tools import client, join

TEXT = """# How to judge
Read both answers. R9: is no rule here, since the line begins otherwise.

R1: true before fluent.
Even where it is longer.

- **R2**: short before long
* **R3:** kind
### R4: Safety
no harm
## Notes
not a rule
[S12] never name people
1. [R5] cite sources"""


def test_rules_are_found_at_the_beginning_of_lines_with_the_text_that_belongs_to_them() -> None:
    assert rules(TEXT) == {
        "R1": "R1: true before fluent.\nEven where it is longer.",
        "R2": "- **R2**: short before long",
        "R3": "* **R3:** kind",
        "R4": "### R4: Safety\nno harm",
        "S12": "[S12] never name people",
        "R5": "1. [R5] cite sources",
    }


@pytest.mark.parametrize(
    "text", ["", "no rules", "r1: small letters", "R1 no colon", "R: no number", "see [R1]", "[R1](x)"]
)
def test_what_is_no_rule(text: str) -> None:
    assert rules(text) == {}


def test_an_id_twice_is_one_rule() -> None:
    assert rules("R1: a\nR2: b\nR1: c") == {"R1": "R1: a\nR1: c", "R2": "R2: b"}


def test_changed_rules_are_those_whose_words_differ() -> None:
    old = "Intro.\nR1: one\nR2: two\nR3: three"
    new = "Another intro.\nR4: four\n\nR2:  two\nR1: one, always"
    assert changed_rules(old, new) == ["R4", "R1", "R3"]
    assert changed_rules(old, old.replace("\n", "\n\n")) == []
    assert changed_rules("", old) == ["R1", "R2", "R3"] and changed_rules(old, "") == ["R1", "R2", "R3"]


def test_words_that_changed_inside_a_line() -> None:
    assert words("true before fluent", "true before  nice") == [
        ("same", "true before"),
        ("del", " fluent"),
        ("ins", "  nice"),
    ]
    assert words("one two", "three") == [("del", "one two"), ("ins", "three")]
    assert words("a b", "a b c") == [("same", "a b"), ("ins", " c")]


def test_changes_name_lines_with_a_neighbour_and_leave_the_rest_out() -> None:
    old = "\n".join(f"line {k}" for k in range(9))
    new = old.replace("line 4", "line four").replace("line 8", "line 8\nend")
    assert changes(old, new) == [
        Line((("same", "line 3"),), gap=True),
        Line((("same", "line "), ("del", "4"), ("ins", "four"))),
        Line((("same", "line 5"),)),
        Line((("same", "line 8"),), gap=True),
        Line((("ins", "end"),)),
    ]
    assert changes(old, old) == []
    assert [line.parts[0][0] for line in changes(old, "")] == ["del"] * 9


@pytest.mark.parametrize(
    ("old", "new"),
    [("a\nb\nc", "x y\nb d\nc"), ("x  y z", "z y\tx"), ("", "new"), ("q\n\nr", "r\nq"), ("a b " * 400, "b a " * 400)],
)
def test_what_stays_and_goes_is_the_old_text_what_stays_and_comes_the_new(old: str, new: str) -> None:
    shown = changes(old, new)  # short enough that nothing is left out
    for mark, text in (("del", old), ("ins", new)):
        lines = ["".join(part for kind, part in line.parts if kind in ("same", mark)) for line in shown]
        assert [line for line in lines if line] == [line for line in text.splitlines() if line]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url, Clock()) as made:
        yield made


def test_the_history_counts_readers_and_acts(store: Store) -> None:
    ada = person(store, "Ada")
    assert store.read(versions) == [] and store.read(lambda db: last_read(db, ada.id)) is None
    store.add_groups(groups(3), "compare")
    for n, text in enumerate(("R1: one", "R1: one\nR2: two", "R2: two")):
        version = store.add_guideline(text, f"g{n}")
        if n < 2:
            store._clock.now += 60  # type: ignore[attr-defined]
            store.read_guideline(ada, version)
            judge(store, ada, f"k{n}")
    found = [(each.guideline.name, each.rules, each.readers, each.acts) for each in store.read(versions)]
    assert found == [("g0", ("R1",), 1, 1), ("g1", ("R2",), 1, 1), ("g2", ("R1",), 0, 0)]
    before = store.read(lambda db: last_read(db, ada.id))
    assert before is not None and before.name == "g1"


def test_a_rater_sees_what_changed_since_he_read_it(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'a.db'}", Clock()) as store:
        http = client(store, tmp_path)
        token = join(store, http, Role.lead, "lead")
        page = {"csrf": token, "name": "Rules"}
        for text in ("R1: be <b>kind</b>", "R1: be <b>kind</b>\nR2: new", "R1: be <b>true</b>\nR2: new"):
            if store.guideline():
                http.post("/guideline", data={"csrf": token, "version": store.guideline().version})  # type: ignore[union-attr]
                assert "<ins>" not in http.get("/guideline").text
            store._clock.now += 60  # type: ignore[attr-defined]
            assert http.post("/lead/guidelines", data={**page, "text": text}).status_code == 303
        shown = http.get("/guideline").text
        assert (
            "<del>&lt;b&gt;kind&lt;/b&gt;</del><ins>&lt;b&gt;true&lt;/b&gt;</ins>" in shown and "<b>kind" not in shown
        )
        assert "Rules that changed: R1" in shown and "<ins>R2: new" not in shown
        second = http.get("/lead/guidelines?number=2").text
        assert "<ins>R2: new</ins>" in second and "What version 2 changed" in second
        assert "It is the first." in http.get("/lead/guidelines?number=1").text
        assert "<del>&lt;b&gt;kind" in http.get("/lead/guidelines").text
        for wrong in ("0", "4", "99999999"):
            assert http.get(f"/lead/guidelines?number={wrong}").status_code == 404
