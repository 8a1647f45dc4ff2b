"""Rows of other tools' shapes: worked by hand, read back, and lossless for our own records."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.core.records import Answer, Demonstration, Group, Judgment, Message, Prompt, Rater
from assent.formats import read_demonstrations, read_preferences, read_unpaired, write, write_files
from assent.formats.feedback import Feedback, read_feedback
from assent.formats.hh import to_messages
from assent.formats.write import Choice

ASKED = Prompt.ask("Where is Rome?", system="Be brief.")
BARE = Prompt.of("Rome is in")


def group_of(prompt: Prompt, *texts: str) -> Group:
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(texts)))


def judge(group: Group, name: str, *tiers: str, **rest: Any) -> Judgment:
    """`tiers` as strings of places: "0", "12" puts answer 0 first and ties the others."""
    places = tuple(tuple(group.answers[int(i)].id for i in tier) for tier in tiers)
    return Judgment.model_validate({"id": name, "group": group.id, "rater": "r1", "tiers": places, **rest})


def feedback(groups: list[Group], judgments: list[Judgment], **rest: Any) -> Feedback:
    return Feedback(groups, judgments, [Rater(id=name) for name in sorted({j.rater for j in judgments})], **rest)


THREE = group_of(ASKED, "In Italy.", "In France.", "No idea.")


def texts(found: list[Choice]) -> list[tuple[str, str, float]]:
    return [(c.chosen.text, c.rejected.text, c.weight) for c in found]


# What a judgment is worth


def test_a_judgment_weighs_one_however_many_pairs_it_makes() -> None:
    left_out = Counter[str]()
    found = write.choices(feedback([THREE], [judge(THREE, "j", "0", "12")]), left_out)
    assert texts(found) == [("In Italy.", "In France.", 0.5), ("In Italy.", "No idea.", 0.5)]
    assert not +left_out


def test_votes_of_a_pair_are_counted_together() -> None:
    # Italy over France: 2 of 3 and a tie as half: (1 + 1 + 0 + .5) / 4 = .625, so the weight is .25.
    two = group_of(ASKED, "In Italy.", "In France.")
    votes = [
        judge(two, f"j{i}", *tiers, rater=f"r{i}") for i, tiers in enumerate([("0", "1")] * 2 + [("1", "0"), ("01",)])
    ]
    (found,) = write.choices(feedback([two], votes), Counter(), per="pair")
    assert (found.chosen.text, found.prob, found.weight, found.votes) == ("In Italy.", 0.625, 0.25, 4)
    even, left_out = feedback([two], [votes[0], votes[2]]), Counter[str]()
    assert write.choices(even, left_out, per="pair") == []
    assert left_out["pair of answers: as many votes for the one as for the other"] == 1


def test_probabilities_are_soft_labels() -> None:
    # Luce: .6 / (.6 + .2) = .75 is how surely Italy beats France.
    two = group_of(ASKED, "In Italy.", "In France.")
    probs = {a.id: p for a, p in zip(two.answers, (0.6, 0.2), strict=True)}
    soft = feedback([two], [judge(two, "j", "0", "1", probs=probs)])
    ((_, row),) = write.trl_preference(write.choices(soft, Counter()))
    assert row["prob"] == pytest.approx(0.75)
    (pair,) = write.choices(soft, Counter(), per="pair")
    assert (pair.prob, pair.weight) == (pytest.approx(0.75), pytest.approx(0.5))


def test_margins_stand_in_all_rows_or_none() -> None:
    two = group_of(ASKED, "In Italy.", "In France.")
    plain = judge(two, "a", "0", "1")
    strong = judge(two, "b", "0", "1", rater="r2", strength=3)
    given_ = judge(two, "c", "0", "1", rater="r3", scores={"margin": 1.5})
    rows = [row for _, row in write.trl_preference(write.choices(feedback([two], [plain, strong]), Counter()))]
    assert all("margin" not in row for row in rows)
    both = feedback([two], [plain, strong, given_])
    assert [r["margin"] for _, r in write.trl_preference(write.choices(both, Counter()))] == [0.0, 0.0, 1.5]
    by_strength = write.trl_preference(write.choices(both, Counter(), use="strength"))
    assert [r["margin"] for _, r in by_strength] == [0.0, 3.0, 0.0]


def test_what_does_not_stand_is_left_out_and_counted() -> None:
    two, left_out = group_of(ASKED, "In Italy.", "In France."), Counter[str]()
    first, better = judge(two, "a", "1", "0"), judge(two, "b", "0", "1", supersedes="a")
    undone = judge(two, "c", outcome="skip", supersedes="d", reasons=("undone",))
    acts = [
        first,
        better,
        judge(two, "d", "1", "0"),
        undone,
        judge(two, "e", "01"),
        judge(two, "f", outcome="both_bad"),
    ]
    assert texts(write.choices(feedback([two], acts), left_out)) == [("In Italy.", "In France.", 1.0)]
    assert +left_out == {
        write.SUPERSEDED: 3,
        "tie or equal texts: no answer is preferred": 1,
        "outcome both_bad: no answer is preferred": 1,
    }


def test_thumbs_are_the_ends_of_a_ranking() -> None:
    acts = [judge(THREE, "a", "0", "1", "2"), judge(THREE, "b", outcome="both_bad"), judge(THREE, "c", "012")]
    found = [(a.text, liked, w) for _, a, liked, w in write.thumbs(feedback([THREE], acts), Counter())]
    assert found[:2] == [("In Italy.", True, 0.5), ("No idea.", False, 0.5)]
    assert found[2:] == [(a.text, False, 1 / 3) for a in THREE.answers]


def test_answers_to_imitate() -> None:
    shown = Demonstration(prompt=ASKED, answer=Answer.of(ASKED, "Italy."), author="ada")
    acts = [judge(THREE, "a", "0", "12", ideal="In Lazio."), judge(THREE, "b", "12", "0", rater="r2", ideal="Italy.")]
    given_ = feedback([THREE], acts, demonstrations=[shown])
    assert [d.answer.text for d in write.completions(given_, best=False)] == ["Italy.", "In Lazio."]
    best = write.completions(given_, best=True)
    assert [d.answer.text for d in best] == ["Italy.", "In Lazio.", "In Italy.", "In France.", "No idea."]
    assert best[0].author == "ada"


def test_a_prompt_that_was_answered_is_no_comparison() -> None:
    """The store asks for an answer with a group of one empty answer, which must never be learned from."""
    blank = group_of(ASKED, "")
    written = feedback([blank], [judge(blank, "a", "0", ideal="In Italy.")])
    assert [d.answer.text for d in write.completions(written, best=True)] == ["In Italy."]
    assert not list(write.thumbs(written, Counter())) and not write.choices(written, Counter())
    assert [d.answer.text for d in read_demonstrations_of(written)] == []


def read_demonstrations_of(given_: Feedback) -> list[Demonstration]:
    from assent.formats.preferences import first_choices

    return first_choices(given_.by_id(), given_.judgments)


# Shapes


def test_rows_as_other_tools_have_them() -> None:
    one = [Choice(THREE, THREE.answers[0], THREE.answers[1], 1.0)]
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Rome?"}]
    better, worse = ([{"role": "assistant", "content": text}] for text in ("In Italy.", "In France."))
    ((_, row),) = write.openai_rows(one, Counter())
    assert row == {"input": {"messages": asked}, "preferred_output": better, "non_preferred_output": worse}
    ((_, row),) = write.trl_preference(one)
    assert row == {"prompt": asked, "chosen": better, "rejected": worse, "weight": 1.0, "group_id": THREE.id}
    ((_, row),) = write.chat_rows([Demonstration(prompt=ASKED, answer=THREE.answers[0])], Counter())
    assert row == {"messages": [*asked, *better]}


def test_trl_itself_takes_the_rows() -> None:
    from datasets import Dataset
    from trl.data_utils import is_conversational, unpair_preference_dataset

    both = [Choice(THREE, THREE.answers[0], THREE.answers[i], 0.5) for i in (1, 2)]
    data = Dataset.from_list([row for _, row in write.trl_preference(both)])
    assert is_conversational(data[0])
    loose = unpair_preference_dataset(data.select_columns(["prompt", "chosen", "rejected"]))
    assert [bool(label) for label in loose["label"]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        (ASKED, "In Italy.", "no place for a system message"),
        (BARE, " Italy.", "no place for a plain text"),
        (Prompt.ask("Hi"), "Ho\n\nHuman: Hum", "a text holds a speaker's mark"),
    ],
)
def test_what_a_transcript_cannot_hold(prompt: Prompt, answer: str, reason: str) -> None:
    group, left_out = group_of(prompt, answer, "No."), Counter[str]()
    assert not list(write.hh_rows([Choice(group, *group.answers, 1.0)], left_out))
    ((why, count),) = left_out.items()
    assert reason in why and count == 1


@pytest.mark.parametrize(("prompt", "answer"), [(BARE, " Italy."), (Prompt.ask("Hi"), " \n")])
def test_what_a_chat_file_cannot_hold(prompt: Prompt, answer: str) -> None:
    group, left_out = group_of(prompt, answer, "No."), Counter[str]()
    assert not list(write.openai_rows([Choice(group, *group.answers, 1.0)], left_out))
    assert not list(write.chat_rows([Demonstration(prompt=prompt, answer=group.answers[0])], left_out))
    assert left_out.total() == 2


# Files


@pytest.mark.parametrize("end", ["jsonl", "parquet", "csv"])
def test_conversations_and_plain_text_lie_apart(tmp_path: Path, end: str) -> None:
    chat = group_of(Prompt.ask("Hi", level=3, subject="a", mixed=1, chosen="x", deep=[1]), "Ho", "Hum")
    plain = group_of(Prompt.of("Rome is in", mixed="1"), " Italy.", " France.")
    other = group_of(Prompt.ask("And?", mixed="2"), "So.", "Thus.")
    rows = list(write.trl_preference([Choice(g, *g.answers, 1.0) for g in (chat, plain, other)]))
    files = write_files.of_rows("train", rows, f".{end}", tags=True)
    write_files.write(tmp_path, files)
    assert {name: len(some) for name, some in files.items()} == {f"train.{end}": 2, f"train-text.{end}": 1}
    assert write_files.lost_tags(p for p, _ in rows) == {"mixed", "chosen", "deep"}
    found = read_preferences(tmp_path)
    assert [g.prompt.messages for g in found.groups] == [
        plain.prompt.messages,
        chat.prompt.messages,
        other.prompt.messages,
    ]
    assert found.groups[1].prompt.tags == {"level": 3, "subject": "a", "weight": 1.0, "group_id": chat.id}
    assert found.groups[2].prompt.tags == {"weight": 1.0, "group_id": other.id}


# Round trips

word = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
name = st.text("abcdefgh0123-", min_size=1, max_size=6)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | numbers | word,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(word, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def prompts(draw: st.DrawFn, plain: bool | None = None) -> Prompt:
    tags = draw(st.dictionaries(name, json_value, max_size=2))
    if draw(st.booleans()) if plain is None else plain:
        return Prompt(messages=(Message(role="text", content=draw(word)),), tags=tags)
    system = [Message(role="system", content="S" + draw(word))] if draw(st.booleans()) else []
    roles = ["user", "assistant"] * draw(st.integers(0, 2)) + ["user"]
    turns = [Message.model_validate({"role": role, "content": draw(word)}) for role in roles]
    return Prompt(messages=(*system, *turns), tags=tags)


@st.composite
def everything(draw: st.DrawFn, plain: bool | None = None) -> Feedback:
    groups, judgments = {}, {}
    for _ in range(draw(st.integers(1, 4))):
        prompt = draw(prompts(plain))
        group = group_of(prompt, *draw(st.lists(word, min_size=1, max_size=4)))
        groups[group.id] = group
        for _ in range(draw(st.integers(0, 3))):
            judgment = draw(judgments_of(group))
            judgments[judgment.id] = judgment
    people = {j.rater for j in judgments.values()} | draw(st.sets(name, max_size=2))
    raters = [
        Rater(
            id=r,
            kind=draw(st.sampled_from(["human", "model", "unknown"])),
            attributes=draw(st.dictionaries(name, json_value, max_size=1)),
        )
        for r in sorted(people)
    ]
    shown = {}
    for _ in range(draw(st.integers(0, 2))):
        prompt = draw(prompts(plain))
        made = Demonstration(prompt=prompt, answer=Answer.of(prompt, draw(word), finish="length"), author=draw(name))
        shown[prompt.id, made.answer.id] = made
    return Feedback(list(groups.values()), list(judgments.values()), raters, list(shown.values()))


@st.composite
def judgments_of(draw: st.DrawFn, group: Group) -> Judgment:
    order = draw(st.permutations([a.id for a in group.answers]))
    outcome = draw(st.sampled_from(["ranked", "ranked", "both_bad", "skip"]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1)))) if len(order) > 1 else []
    ends = [0, *cuts, len(order)]
    tiers = tuple(tuple(order[a:b]) for a, b in pairwise(ends)) if outcome == "ranked" else ()
    return Judgment(
        id=draw(st.uuids()).hex,
        group=group.id,
        rater=draw(name),
        outcome=outcome,
        tiers=tiers,
        strength=draw(st.none() | st.integers(0, 3)),
        probs=draw(st.none() | st.just(dict.fromkeys(order, 0.5))),
        scores=draw(st.none() | st.dictionaries(name, numbers, max_size=2)),
        reasons=tuple(draw(st.lists(word, max_size=2))),
        note=draw(word),
        ideal=draw(st.none() | word),
        shown_order=tuple(order),
        guideline=draw(st.none() | name),
        times=draw(st.dictionaries(name, numbers, max_size=2)),
        is_gold=draw(st.booleans()),
        supersedes=draw(st.none() | name),
        cost=draw(st.none() | numbers),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(everything())
def test_our_own_records_lose_nothing(given_: Feedback) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_files.write(Path(folder), write_files.of_records(given_))
        assert read_feedback(folder) == given_


def said(found: Feedback) -> Counter[Any]:
    """What a preference row can carry: the conversation, the better and the worse text."""
    pairs = write.choices(found, Counter())
    return Counter((c.group.prompt.messages, c.chosen.text, c.rejected.text) for c in pairs)


def read_rows(rows: list[write.Row], parquet: bool = False) -> Feedback:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.parquet" if parquet else "x.jsonl")
        write_files._put(path, rows)
        return read_feedback(path)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(everything(plain=False), st.booleans())
def test_conversations_come_back_from_every_shape(given_: Feedback, parquet: bool) -> None:
    wanted, left_out = set(said(given_)), Counter[str]()
    chosen = write.choices(given_, Counter())
    for rows in (write.trl_preference(chosen), write.openai_rows(chosen, left_out), write.hh_rows(chosen, left_out)):
        kept = [row for _, row in rows]
        back = set(said(read_rows(kept, parquet))) if kept else set()
        assert back <= wanted
        dropped = len(chosen) - len(kept)
        assert dropped or back == wanted


@settings(max_examples=40, deadline=None, derandomize=True)
@given(everything(plain=True))
def test_plain_text_comes_back_from_trl(given_: Feedback) -> None:
    chosen = [c for c in write.choices(given_, Counter()) if c.group.prompt.text.strip()]
    rows = [row for _, row in write.trl_preference(chosen)]
    assert set(said(read_rows(rows)) if rows else ()) == {x for x in said(given_) if x[0][0].content.strip()}


def test_margins_thumbs_and_completions_come_back(tmp_path: Path) -> None:
    two = group_of(ASKED, "In Italy.", "In France.")
    given_ = feedback([two], [judge(two, "a", "0", "1", scores={"margin": 1.5})])
    ((_, row),) = write.trl_preference(write.choices(given_, Counter()))
    (back,) = read_rows([row]).judgments
    assert back.scores == {"margin": 1.5}

    thumbs = [row for _, row in write.trl_unpaired(write.thumbs(given_, Counter()))]
    write_files._put(tmp_path / "u.jsonl", thumbs)
    assert [(u.answer.text, u.liked) for u in read_unpaired(tmp_path / "u.jsonl")] == [
        ("In Italy.", True),
        ("In France.", False),
    ]
    again = [row for _, row in write.trl_unpaired(write.thumbs(read_feedback(tmp_path / "u.jsonl"), Counter()))]
    assert [(r["completion"], r["label"]) for r in again] == [(r["completion"], r["label"]) for r in thumbs]

    shown = Demonstration(prompt=ASKED, answer=Answer.of(ASKED, "In Lazio."))
    for rows in (write.trl_completion([shown]), write.chat_rows([shown], Counter())):
        write_files._put(tmp_path / "d.jsonl", [row for _, row in rows])
        assert read_demonstrations(tmp_path / "d.jsonl") == [shown]


def test_a_transcript_is_what_anthropic_wrote() -> None:
    group = group_of(Prompt.ask("Hi"), "Ho", "Hum")
    ((_, row),) = write.hh_rows([Choice(group, *group.answers, 1.0)], Counter())
    assert row == {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant: Hum"}
    assert to_messages(row["chosen"])[0].content == "Hi"


def test_json_lines_are_one_object_a_line(tmp_path: Path) -> None:
    write_files._put(tmp_path / "x.jsonl", [{"a": "line\u2028break\nand é"}])
    (line,) = (tmp_path / "x.jsonl").read_bytes().split(b"\n")[:-1]
    assert json.loads(line) == {"a": "line\u2028break\nand é"} and "é".encode() in line
