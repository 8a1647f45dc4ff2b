"""Exports: what filters and splits take, what the datasheet says, whole folders or none."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.core.hashing import is_held_out, tree_hash
from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt, Rater
from assent.feedback.export import Options, export
from assent.feedback.export_datasheet import describe
from assent.feedback.export_filters import Filters, Split, divide, select, strata
from assent.feedback.export_raters import raters
from assent.feedback.intake import plan
from assent.formats.feedback import Feedback, read_feedback

PROMPTS = 40
PEOPLE = {"ada": "red", "bob": "red", "cy": "blue", "dee": "blue", "gpt": "green"}


def pair(i: int) -> Group:
    prompt = Prompt.ask(f"question {i}")
    return Group(prompt=prompt, answers=(Answer.of(prompt, "short"), Answer.of(prompt, "a longer answer", index=1)))


def judge(group: Group, rater: str, first: int, name: str = "", **rest: Any) -> Judgment:
    better, worse = group.answers[first].id, group.answers[1 - first].id
    fields = {"tiers": ((better,), (worse,)), "shown_order": tuple(a.id for a in group.answers), **rest}
    return Judgment.model_validate({"id": name or f"{rater}-{group.id}", "group": group.id, "rater": rater, **fields})


GROUPS = [pair(i) for i in range(PROMPTS)]


def made() -> Feedback:
    """Ada and Bob agree on all but every fourth group, where Bob takes the other; GPT judged the first ten."""
    judgments = [judge(g, "ada", 0, guideline="aaa111") for g in GROUPS]
    judgments += [judge(g, "bob", int(i % 4 == 0), guideline="bbb222") for i, g in enumerate(GROUPS)]
    judgments += [judge(g, "gpt", 0) for g in GROUPS[:10]]
    people = [
        Rater(id=name, kind="model" if name == "gpt" else "human", attributes={"team": team})
        for name, team in PEOPLE.items()
    ]
    prompt = GROUPS[0].prompt
    return Feedback(
        GROUPS, judgments, people, [Demonstration(prompt=prompt, answer=Answer.of(prompt, "x"), author="ada")]
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Filters


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(), 90),
        (Filters(guidelines=frozenset({"aaa"})), 40),
        (Filters(guidelines=frozenset({"none"})), 10),
        (Filters(raters=frozenset({"bob", "gpt"})), 50),
        (Filters(kinds=frozenset({"model"})), 10),
        (Filters(agreement=frozenset({"unanimous"})), 2 * 30 + 7),  # groups 0, 4, 8 of the first ten are split 2:1
        (Filters(agreement=frozenset({"majority"})), 3 * 3),
        (Filters(agreement=frozenset({"split"})), 2 * 7),
    ],
)
def test_filters(filters: Filters, count: int) -> None:
    left_out = Counter[str]()
    taken = select(made(), filters, left_out)
    assert len(taken.judgments) == count
    counted = sum(n for why, n in left_out.items() if "demonstration" not in why)
    assert counted == 90 - count
    assert {j.group for j in taken.judgments} == {g.id for g in taken.groups}


def test_strata_of_a_single_judgment_and_of_ties() -> None:
    one, two, three = GROUPS[:3]
    tie = {"tiers": (tuple(a.id for a in two.answers),)}
    acts = [judge(one, "ada", 0), judge(two, "ada", 0), judge(two, "bob", 0, **tie)]
    acts += [judge(three, "ada", 0, outcome="both_bad", tiers=()), judge(three, "bob", 0, outcome="both_bad", tiers=())]
    found = strata(Feedback([one, two, three], acts, [], []))
    assert list(found.values()) == ["single", "split", "unanimous"]


def test_a_correction_that_is_filtered_out_does_not_bring_back_what_it_corrects() -> None:
    group = GROUPS[0]
    first = judge(group, "ada", 0, "a")
    skip = judge(group, "ada", 0, "b", outcome="skip", tiers=(), supersedes="a")
    taken = select(
        Feedback([group], [first, skip], [Rater(id="ada")], []), Filters(outcomes=frozenset({"ranked"})), Counter()
    )
    assert taken.judgments == []
    better = judge(group, "ada", 1, "c", supersedes="a")
    history = Feedback([group], [first, better], [Rater(id="ada")], [])
    assert select(history, Filters(outcomes=frozenset({"ranked"})), Counter()).judgments == [first, better]


def test_checks_of_raters_are_no_training_data() -> None:
    acts = [judge(GROUPS[0], "ada", 0), judge(GROUPS[1], "ada", 0, is_gold=True)]
    left_out = Counter[str]()
    taken = select(Feedback(GROUPS[:2], acts, [Rater(id="ada")], []), Filters(checks=False), left_out)
    assert taken.judgments == acts[:1] and left_out.total() == 1


@pytest.mark.parametrize(
    ("filters", "what"),
    [
        (Filters(guidelines=frozenset({"zzz"})), "guideline `zzz`"),
        (Filters(raters=frozenset({"eve"})), "rater `eve`"),
        (Filters(kinds=frozenset({"rule"})), "kind of rater `rule`"),
        (Filters(outcomes=frozenset({"won"})), "outcome `won`"),
        (Filters(agreement=frozenset({"high"})), "agreement stratum `high`"),
    ],
)
def test_a_name_that_nothing_has_is_refused(filters: Filters, what: str) -> None:
    with pytest.raises(DataError, match=what):
        select(made(), filters, Counter())


# The split


def test_both_sides_of_a_split_share_neither_prompt_nor_rater_group() -> None:
    left_out, everything = Counter[str](), made()
    sides = divide(everything, Split(prompts=0.3, raters=0.34, by="team"), left_out)
    team = {r.id: r.attributes["team"] for r in everything.raters}
    for kind in (lambda j: j.group, lambda j: team[j.rater]):
        ours, theirs = ({kind(j) for j in side.judgments} for side in (sides.train, sides.test))
        assert not ours & theirs
    groups = everything.by_id()
    assert all(is_held_out(groups[j.group].prompt.subject, 0.3) for j in sides.test.judgments)
    left = sum(n for why, n in left_out.items() if "its prompt and its rater" in why)
    assert len(sides.train.judgments) + len(sides.test.judgments) + left == 90 and sides.train.judgments


def test_a_split_by_prompt_alone_loses_nothing() -> None:
    sides = divide(made(), Split(prompts=0.3), Counter())
    assert len(sides.train.judgments) + len(sides.test.judgments) == 90
    assert len(sides.train.groups) + len(sides.test.groups) == PROMPTS
    assert len(sides.train.demonstrations) + len(sides.test.demonstrations) == 1


def test_one_group_of_raters_cannot_be_split() -> None:
    with pytest.raises(DataError, match="all raters are of one group by `country`"):
        divide(made(), Split(raters=0.5, by="country"), Counter())


# The datasheet


def test_figures_of_the_datasheet_by_hand() -> None:
    facts = describe(made())
    assert facts["counts"]["judgments_by_kind"] == {"human": 80, "model": 10}
    assert facts["guidelines"] == {"aaa111": 40, "bbb222": 40, "none": 10}
    # 30 groups with two raters: 7 disagree. 10 with three: groups 0, 4, 8 agree in one pair of three.
    assert facts["agreement"]["estimate"] == pytest.approx((23 + 7 + 3 / 3) / 40)
    assert facts["agreement"]["n"] == 40 and facts["agreement"]["low"] < facts["agreement"]["estimate"]
    # The short answer is shown first always, and loses only where Bob takes the other: 10 of 90.
    assert facts["first_shown_wins"]["estimate"] == pytest.approx(80 / 90, abs=1e-4)
    assert facts["longer_wins"]["estimate"] == pytest.approx(10 / 90, abs=1e-4)
    assert facts["tie_share"]["estimate"] == facts["both_bad_share"]["estimate"] == 0


def test_the_table_of_raters_by_hand() -> None:
    ada, bob, cy, _, gpt = raters(made())
    # Ada's 40 votes: 23 + 7 said by Bob or by all, 7 not, and three times by one of two.
    found = ada.watched["agreement"].found
    assert found is not None and found.estimate == pytest.approx((23 + 7 + 1.5) / 40)
    assert (ada.judgments, ada.skips, cy.judgments) == (40, 0, 0)
    # The others agree with each other on everything, so that Bob is worth a look.
    assert bob.cells() == ("bob", "human", "40", "0", "- (40)", "- (40)", "- (40)", "75% (40)!", "- (0)", "- (0)")
    assert gpt.cells()[7] == "- (10)" and cy.cells()[7] == "- (0)"


# Folders


def test_an_export_is_whole_checked_and_the_same_again(tmp_path: Path) -> None:
    options = Options("trl", split=Split(prompts=0.3), licence="CC-BY-4.0", limits=("One language.",), name="x")
    sheet = export(made(), tmp_path / "a", options)
    export(made(), tmp_path / "b", options)
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b")
    assert sorted(tree_hash(tmp_path / "a")) == [
        "DATASHEET.md",
        "SHA256SUMS",
        "datasheet.json",
        "test.jsonl",
        "train.jsonl",
    ]
    assert json.loads((tmp_path / "a/datasheet.json").read_text()) == sheet
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "a", capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 4
    for file in sheet["files"]:
        path = tmp_path / "a" / file["name"]
        assert (len(rows(path)), hashlib.sha256(path.read_bytes()).hexdigest()) == (file["rows"], file["sha256"])
    page = (tmp_path / "a/DATASHEET.md").read_text()
    assert "CC-BY-4.0" in page and "- One language." in page and "aaa111 40" in page
    assert not list(tmp_path.glob(".*"))


def test_an_existing_folder_is_left_alone_and_a_failure_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="is not overwritten"):
        export(made(), tmp_path / "a", Options("trl"))
    with pytest.raises(DataError, match=r"(?s)nothing is left to export.*plain text: 1"):
        only = Prompt.of("plain")
        shown = Demonstration(prompt=only, answer=Answer.of(only, "x"))
        export(Feedback(demonstrations=[shown]), tmp_path / "b", Options("chat"))
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("split", [Split(), Split(prompts=0.3)])
def test_native_exports_go_straight_into_training(tmp_path: Path, split: Split) -> None:
    from assent.formats import read_demonstrations, read_preferences

    everything = made()
    export(everything, tmp_path / "n", Options("native", split=split))
    if not split.any():
        assert read_feedback(tmp_path / "n") == everything
        assert read_preferences(tmp_path / "n/preferences").judgments == everything.judgments
        assert read_demonstrations(tmp_path / "n/demonstrations") == everything.demonstrations
    back = read_feedback(tmp_path / "n")
    assert Counter(j.id for j in back.judgments) == Counter(j.id for j in everything.judgments)


def test_an_ideal_answer_is_a_pair_and_a_demonstration(tmp_path: Path) -> None:
    group = GROUPS[0]
    given = Feedback([group], [judge(group, "ada", 0, ideal="the best")], [Rater(id="ada", kind="human")], [])
    export(given, tmp_path / "p", Options("trl"))
    pairs = {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows(tmp_path / "p/train.jsonl")}
    assert pairs == {("short", "a longer answer"), ("the best", "short")}
    export(given, tmp_path / "c", Options("chat"))
    assert [r["messages"][-1]["content"] for r in rows(tmp_path / "c/train.jsonl")] == ["the best"]
    # A snapshot holds the pair already: it is not made twice.
    export(read_feedback(tmp_path / "p"), tmp_path / "again", Options("trl"))
    assert len(rows(tmp_path / "again/train.jsonl")) == 2


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (Options("hh", type="unpaired"), "type"),
        (Options("chat", per="pair"), "rows"),
        (Options("openai", margin="strength"), "margin"),
        (Options("trl", best=True), "best"),
        (Options("trl", split=Split(by="team")), "rater-group"),
        (Options("trl", per="pair", margin="strength"), "no one strength"),
    ],
)
def test_an_option_that_would_not_be_read_is_refused(tmp_path: Path, options: Options, option: str) -> None:
    with pytest.raises(DataError, match=option):
        export(made(), tmp_path / "a", options)


def test_what_a_file_asks_of_people() -> None:
    prompt = Prompt.ask("three")
    three = Group(prompt=prompt, answers=tuple(Answer.of(prompt, text) for text in "abc"))
    judged = judge(GROUPS[0], "ada", 0)
    found = Feedback([*GROUPS[:2], three], [judged], [Rater(id="ada")], [], [Prompt.ask("alone")])
    work = plan(found)
    assert {kind: [g.prompt.text for g in groups] for kind, groups in work.items()} == {
        "compare": ["question 1"], "rank": ["three"], "write": ["alone"]
    }  # fmt: skip
    assert [g.prompt.text for g in plan(found, again=True)["compare"]] == ["question 0", "question 1"]
    with pytest.raises(DataError, match="10 answers, but a screen ranks 9"):
        plan(Feedback([Group(prompt=prompt, answers=tuple(Answer.of(prompt, str(i)) for i in range(10)))]))
    with pytest.raises(DataError, match="nothing to judge"):
        plan(Feedback(demonstrations=made().demonstrations))
