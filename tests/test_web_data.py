"""Files that come in by the browser: what is understood, what is refused and why; and the words of the tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assent.core.records import Judgment
from assent.feedback.records import Role
from assent.web.data import MOST_ANSWERS, kind_of, preview
from assent.web.summaries import agreement, cast_votes, describe, hardest, left_share
from web_tools import client, groups, join, open_store


def write(folder: Path, rows: list[Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_each_row_is_understood_or_named_with_its_reason(tmp_path: Path) -> None:
    found = preview(
        write(
            tmp_path,
            [
                {"prompt": "Two?", "chosen": "a", "rejected": "b"},
                {"prompt": "Three?", "completion": "1"},
                "not json",
                {"prompt": "Three?", "completion": "2"},
                {"prompt": 3, "completion": "2"},
                {"prompt": "Three?", "completion": "3"},
                {"prompt": "Three?", "completion": "3"},
                {"prompt": "Write?"},
                {"prompt": "Same?", "chosen": "a", "rejected": "a"},
                groups(1, 4, "Native")[0].model_dump(mode="json"),
                {"id": "j", "group": "g", "rater": "r"},
                "[1]",
            ],
        ),
        "rows.jsonl",
    )
    assert [where for where, _ in found.refused] == ["line 3", "line 5", "line 9", "line 11", "line 12"]
    assert all(reason for _, reason in found.refused)
    assert {kind: [len(g.answers) for g in made] for kind, made in found.kinds} == {
        "compare": [2],
        "rank": [4, 3],
        "write": [1],
    }
    assert found.rows == 12


def test_rows_of_one_prompt_are_put_together_whatever_their_shape(tmp_path: Path) -> None:
    rows = [{"prompt": "P", "chosen": "a", "rejected": "b"}, {"prompt": "P"}, {"prompt": "P", "completion": "c"}]
    (group,) = preview(write(tmp_path, rows), "x").groups
    assert sorted(answer.text for answer in group.answers) == ["a", "b", "c"] and kind_of(group) == "rank"


def test_more_answers_than_a_screen_ranks_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "P", "completion": str(i)} for i in range(MOST_ANSWERS + 1)]
    found = preview(write(tmp_path, rows), "x")
    assert found.groups == [] and "10 answers" in found.refused[0][1]


def test_addresses_and_numbers_are_noticed(tmp_path: Path) -> None:
    rows = [{"prompt": "Write to ada@example.org"}, {"prompt": "Call +49 30 1234567"}, {"prompt": "In 1984, 12 of 300"}]
    assert preview(write(tmp_path, rows), "x").personal == 2


def test_a_csv_with_a_fault_says_where(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,chosen,rejected\nA?,1,2\nB?,1\n")
    found = preview(path, "rows.csv")
    assert len(found.groups) == 1 and found.refused[0][0] == "3"


def test_what_was_shown_goes_in_once_and_only_for_who_sent_it(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        http = client(store, tmp_path)
        token = join(store, http, Role.lead, "lead")
        other = client(store, tmp_path)
        other.app = http.app
        theirs = join(store, other, Role.lead, "other")
        content = b'{"prompt": "P <b>", "chosen": "a", "rejected": "b"}\n'
        shown = http.post("/lead/data", data={"csrf": token}, files={"file": ("<i>.jsonl", content)})
        assert "<i>" not in shown.text and "P &lt;b&gt;" in shown.text
        upload = re.search(r'name="upload" value="([^"]+)"', shown.text)
        assert upload and store.progress().items == 0
        form = {"upload": upload[1], "overlap": "3"}
        assert other.post("/lead/data/add", data={**form, "csrf": theirs}).status_code in (403, 409)
        assert http.post("/lead/data/add", data={**form, "csrf": token, "overlap": "0"}).status_code == 400
        assert http.post("/lead/data/add", data={**form, "csrf": token}).status_code == 200
        assert store.progress().places == 3
        assert http.post("/lead/data/add", data={**form, "csrf": token}).status_code == 409


@pytest.mark.parametrize("name", ["x.exe", "x", "..\\..\\x.py"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        http = client(store, tmp_path)
        token = join(store, http, Role.lead, "lead")
        assert http.post("/lead/data", data={"csrf": token}, files={"file": (name, b"{}")}).status_code == 400
        assert http.post("/lead/data", data={"csrf": token}).status_code == 400


def judged(i: int, group: str, best: str, worst: str, rater: str, **rest: Any) -> Judgment:
    return Judgment(id=f"{rater}-{i}", group=group, rater=rater, tiers=((best,), (worst,)), **rest)


def test_agreement_of_two_who_always_agree_and_of_two_who_never_do() -> None:
    made = groups(12)
    by_id = {group.id: group for group in made}
    same, opposite = [], []
    for i, group in enumerate(made):
        a, b = (answer.id for answer in group.answers)
        first, second = (a, b) if i % 2 else (b, a)
        same += [judged(i, group.id, first, second, rater) for rater in ("one", "two")]
        opposite += [judged(i, group.id, first, second, "one"), judged(i, group.id, second, first, "two")]
    found = agreement(cast_votes(same, by_id))
    assert found.raw and found.raw.estimate == 1 and found.alpha and found.alpha.estimate == 1
    worst = agreement(cast_votes(opposite, by_id))
    assert worst.raw and worst.raw.estimate == 0 and worst.band == "guideline problem"
    assert len(hardest(cast_votes(opposite, by_id), by_id)) == 12
    assert hardest(cast_votes(same, by_id), by_id) == []
    assert agreement(cast_votes(same[:4], by_id)).band == "not enough data"


def test_the_share_of_the_first_shown_answer_needs_twenty_choices() -> None:
    shown = [judged(i, "g", "a", "b", "r", shown_order=("a", "b") if i < 15 else ("b", "a")) for i in range(20)]
    assert left_share(shown[:19]).text == "–"
    # Wilson's interval of 15 in 20, by hand: (0.75 + 0.096 -+ 0.2087) / 1.192 = 0.531 and 0.888.
    assert (left_share(shown).text, left_share(shown).detail) == ("75 %", "53 to 89 %, n 20")


def test_a_judgment_is_told_in_the_letters_of_its_own_screen() -> None:
    (group,) = groups(1)
    a, b = (answer.id for answer in group.answers)
    said = judged(1, group.id, a, b, "r", shown_order=(b, a), strength=3, reasons=("safe",), note="see R1")
    row = describe(said, {group.id: group})
    assert (row.said, row.why) == ("B > A, much", "safer – see R1")
