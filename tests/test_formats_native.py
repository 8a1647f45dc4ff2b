"""Our own records as JSON lines: written, read back, and checked as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.core.jsonl import write_records
from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt, Rater
from assent.formats import (
    demonstrations_from_preferences,
    read_demonstrations,
    read_preferences,
    read_prompts,
)
from assent.formats.shapes import parse

PROMPT = Prompt.ask("Where is Rome?", system="Be brief.", subject="rome")
ANSWERS = tuple(Answer.of(PROMPT, text, source="m") for text in ("In Italy.", "In France.", "No idea."))
GROUP = Group(prompt=PROMPT, answers=ANSWERS)
A, B, C = (answer.id for answer in ANSWERS)
RANKED = Judgment(id="j1", group=GROUP.id, rater="r1", tiers=((A,), (C, B)), reasons=("true",), scores={A: 5.0})
SKIPPED = Judgment(id="j2", group=GROUP.id, rater="r2", outcome="skip")
KNOWN = Rater(id="r1", kind="human", attributes={"team": "x"})


def files(folder: Path, **kinds: list[Any]) -> Path:
    for name, records in kinds.items():
        write_records(folder / f"{name}.jsonl", records)
    return folder


def test_round_trip_of_a_folder(tmp_path: Path) -> None:
    found = read_preferences(files(tmp_path, groups=[GROUP], judgments=[RANKED, SKIPPED], raters=[KNOWN]))
    assert (found.groups, found.judgments) == ([GROUP], [RANKED, SKIPPED])
    assert found.raters == [KNOWN, Rater(id="r2")]
    assert [d.answer for d in demonstrations_from_preferences(found)] == [ANSWERS[0]]
    (prompt,) = read_prompts(tmp_path)
    assert prompt == PROMPT


def test_prompts_and_demonstrations(tmp_path: Path) -> None:
    demonstration = Demonstration(prompt=PROMPT, answer=ANSWERS[0], author="ada")
    assert read_demonstrations(files(tmp_path / "d", d=[demonstration, demonstration])) == [demonstration]
    assert read_prompts(files(tmp_path / "p", p=[PROMPT, Prompt.of("Once")])) == [PROMPT, Prompt.of("Once")]


def test_judgments_may_come_before_groups_and_pairs_beside_them(tmp_path: Path) -> None:
    files(tmp_path, a_judgments=[RANKED, RANKED], b_groups=[GROUP, GROUP])
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}))
    found = read_preferences(tmp_path)
    assert (len(found.groups), len(found.judgments)) == (2, 2)


@pytest.mark.parametrize(
    ("tiers", "reason"),
    [
        (((A,), (B,)), f"answer {C} of group {GROUP.id} is not placed"),
        (((A, B), (C, A)), f"answer {A} is placed twice"),
        (((A,), (B, C), ("x",)), f"answer x is not in group {GROUP.id}"),
        ((), "is not placed"),
    ],
)
def test_tiers_must_hold_every_answer_once(tmp_path: Path, tiers: Any, reason: str) -> None:
    bad = RANKED.model_copy(update={"id": "bad", "tiers": tiers})
    path = files(tmp_path, groups=[GROUP], judgments=[RANKED, bad])
    with pytest.raises(DataError, match=reason) as caught:
        read_preferences(path)
    assert caught.value.where == f"{tmp_path}/judgments.jsonl:2"


def test_an_id_repeated_with_other_content_is_refused(tmp_path: Path) -> None:
    other = RANKED.model_copy(update={"tiers": ((B,), (C, A))})
    with pytest.raises(DataError, match=r"(?s)judgment id j1 is repeated.*judgments.jsonl:1"):
        read_preferences(files(tmp_path / "1", groups=[GROUP], judgments=[RANKED, other]))
    another = GROUP.model_copy(update={"answers": ANSWERS[:2]})
    with pytest.raises(DataError, match=f"group id {GROUP.id} is repeated"):
        read_preferences(files(tmp_path / "2", groups=[GROUP, another], judgments=[RANKED]))
    with pytest.raises(DataError, match="rater id r1 is repeated"):
        read_preferences(files(tmp_path / "3", groups=[GROUP], judgments=[RANKED], raters=[KNOWN, Rater(id="r1")]))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"on group {GROUP.id}, which is not there"):
        read_preferences(files(tmp_path / "1", judgments=[RANKED]))
    with pytest.raises(DataError, match="holds no judgment"):
        read_preferences(files(tmp_path / "2", groups=[GROUP]))
    with pytest.raises(DataError, match="holds no demonstrations"):
        read_demonstrations(files(tmp_path / "3", groups=[GROUP]))
    with pytest.raises(DataError, match="holds no prompts"):
        read_prompts(files(tmp_path / "4", judgments=[RANKED]))


def test_an_answer_twice_in_a_group(tmp_path: Path) -> None:
    row = GROUP.model_dump(mode="json")
    row["answers"] = [row["answers"][0]] * 2
    (tmp_path / "g.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="stands twice in the group"):
        read_preferences(tmp_path)


def test_the_top_tier_is_what_is_imitated(tmp_path: Path) -> None:
    tied = Judgment(id="j3", group=GROUP.id, rater="r1", tiers=((B, C), (A,)))
    both_bad = Judgment(id="j4", group=GROUP.id, rater="r1", outcome="both_bad")
    found = read_demonstrations(files(tmp_path, groups=[GROUP], judgments=[tied, both_bad]))
    assert [(d.answer.id, d.author) for d in found] == [(B, "r1"), (C, "r1")]


def test_the_records_in_the_docs_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "formats.md"
    lines = [line.strip() for line in page.read_text().splitlines() if line.startswith('    {"format"')]
    kinds = [parse(json.loads(line)) for line in lines]
    assert [type(kind) for kind in kinds] == [Prompt, Demonstration, Group, Judgment, Rater]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[2:]))
    (judgment,) = read_preferences(tmp_path).judgments
    assert judgment.tiers == (("b",), ("a",))
