"""TRL's dataset shapes, standard and conversational, and every way in which a row can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.core.records import Message
from assent.formats import (
    margin,
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_texts,
    read_unpaired,
)

USER = {"role": "user", "content": "Where is Rome?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"id": "a", "text": "b"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(folder: Path, *rows: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(prompt) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in prompt.messages]


ASKED = {"text": [("text", "Where is Rome?")], "chat": [("system", "Be brief."), ("user", "Where is Rome?")]}


@pytest.mark.parametrize(
    ("row", "expected", "answer"),
    [
        ({"text": "Rome is in Italy."}, [("text", "")], "Rome is in Italy."),
        ({"messages": [SYSTEM, USER, said("In Italy.")]}, ASKED["chat"], "In Italy."),
        ({"prompt": "Where is Rome?", "completion": " In Italy."}, ASKED["text"], " In Italy."),
        ({"prompt": [SYSTEM, USER], "completion": [said("In Italy.")]}, ASKED["chat"], "In Italy."),
        (
            {"prompt": [USER], "completion": [said("")], "label": None},
            [("user", "Where is Rome?")],
            "",
        ),
    ],
)
def test_demonstrations(tmp_path: Path, row: dict, expected: list, answer: str) -> None:
    (found,) = read_demonstrations(write(tmp_path, row))
    assert (turns(found.prompt), found.answer.text, found.author) == (expected, answer, "unknown")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Where is Rome?"}, ASKED["text"]),
        ({"prompt": [SYSTEM, USER]}, ASKED["chat"]),
        ({"messages": [SYSTEM, USER]}, ASKED["chat"]),
        ({"messages": [SYSTEM, USER, said("In Italy.")]}, ASKED["chat"]),
        ({"prompt": [SYSTEM, USER], "chosen": [said("a")], "rejected": [said("b")]}, ASKED["chat"]),
    ],
)
def test_prompts_of_any_shape(tmp_path: Path, row: dict, expected: list) -> None:
    (found,) = read_prompts(write(tmp_path, row, row))
    assert turns(found) == expected


PAIRS = [
    (
        {"prompt": "Where is Rome?", "chosen": " In Italy.", "rejected": " In France."},
        ASKED["text"],
        (" In Italy.", " In France."),
    ),
    (
        {"chosen": "Where is Rome? In Italy.", "rejected": "Where is Rome? In France."},
        [("text", "Where is Rome? In")],
        (" Italy.", " France."),
    ),
    ({"chosen": "A: four", "rejected": "A: forty"}, [("text", "A:")], (" four", " forty")),
    ({"chosen": "A: it is", "rejected": "A: it is so"}, [("text", "A: it")], (" is", " is so")),
    ({"chosen": "Q\n\nyes", "rejected": "Q\n\nno"}, [("text", "Q")], ("\n\nyes", "\n\nno")),
    (
        {"prompt": [SYSTEM, USER], "chosen": [said("In Italy.")], "rejected": [said("In France.")]},
        ASKED["chat"],
        ("In Italy.", "In France."),
    ),
    (
        {"chosen": [SYSTEM, USER, said("In Italy.")], "rejected": [SYSTEM, USER, said("In France.")]},
        ASKED["chat"],
        ("In Italy.", "In France."),
    ),
    # UltraFeedback: a prompt string beside whole conversations
    (
        {
            "prompt": "Where is Rome?",
            "chosen": [SYSTEM, USER, said("a")],
            "rejected": [SYSTEM, USER, said("b")],
        },
        ASKED["chat"],
        ("a", "b"),
    ),
    (
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant: Hum"},
        [("user", "Hi")],
        ("Ho", "Hum"),
    ),
]


@pytest.mark.parametrize(("row", "expected", "answers"), PAIRS)
def test_preferences(tmp_path: Path, row: dict, expected: list, answers: tuple[str, str]) -> None:
    found = read_preferences(write(tmp_path, row))
    (group,), (judgment,) = found.groups, found.judgments
    texts = {answer.id: answer.text for answer in group.answers}
    assert turns(group.prompt) == expected
    assert [[texts[i] for i in tier] for tier in judgment.tiers] == [[answers[0]], [answers[1]]]
    assert (judgment.group, judgment.rater) == (group.id, "unknown")
    assert [(r.id, r.kind) for r in found.raters] == [("unknown", "unknown")]
    (demonstration,) = read_demonstrations(tmp_path)
    assert demonstration.answer.text == answers[0]


def test_other_columns_become_tags(tmp_path: Path) -> None:
    (prompt,) = read_prompts(write(tmp_path, {"prompt": "1+1?", "solution": "2", "text_id": 7, "gone": None}))
    assert prompt.tags == {"solution": "2", "text_id": 7}
    path = write(tmp_path, {"prompt": "1+1?", "chosen": "2", "rejected": "3", "margin": 1.5, "subject": "sums"})
    (group,) = read_preferences(path).groups
    assert group.prompt.tags == {"subject": "sums"} and group.prompt.subject == "sums"


@pytest.mark.parametrize("value", [1.5, "1.5"])
def test_margin_is_kept(tmp_path: Path, value: Any) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "margin": value},
        {"prompt": "p", "chosen": "a", "rejected": "c"},
    ]
    assert [margin(j) for j in read_preferences(write(tmp_path, *rows)).judgments] == [1.5, 0.0]


def test_same_answers_are_one_group_whoever_won(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "b", "rejected": "a", "row": 2},
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "a", "rejected": "c"},
    ]
    found = read_preferences(write(tmp_path, *rows))
    assert [sorted(a.text for a in g.answers) for g in found.groups] == [["a", "b"], ["a", "c"]]
    first, second, third = found.judgments
    assert first.group == second.group != third.group and first.tiers == second.tiers[::-1]
    again = read_preferences(write(tmp_path, *rows[::-1]))
    assert {g.id for g in again.groups} == {g.id for g in found.groups}
    assert {j.id for j in again.judgments} == {j.id for j in found.judgments}
    same = {a.id for g in found.groups for a in g.answers if a.text == "a"}
    assert len(same) == 1


@pytest.mark.parametrize("same", ["Where is Rome? a", [USER, said("a")], "\n\nHuman: Hi\n\nAssistant: a"])
def test_equal_texts_tie(tmp_path: Path, same: Any) -> None:
    found = read_preferences(write(tmp_path, {"chosen": same, "rejected": same}))
    assert [len(tier) for tier in found.judgments[0].tiers] == [2]
    assert {answer.text.strip() for answer in found.groups[0].answers} == {"a"}


@pytest.mark.parametrize(("label", "liked"), [(True, True), (0, False), ("False", False), ("true", True)])
def test_unpaired(tmp_path: Path, label: Any, liked: bool) -> None:
    path = write(
        tmp_path,
        {"prompt": "p", "completion": "a", "label": label},
        {"prompt": [USER], "completion": [said("b")], "label": True},
    )
    first, second = read_unpaired(path)
    assert (first.answer.text, first.liked, first.prompt.plain) == ("a", liked, True)
    assert (second.answer.text, second.liked, second.prompt.plain) == ("b", True, False)
    assert [d.answer.text for d in read_demonstrations(path)] == ["a", "b"][not liked :]


def test_groups_of_any_shape(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "b", "rejected": "a"},
        {"prompt": "p", "completion": "c"},
        {"prompt": "p", "completion": "d", "label": False},
        {"format": 1, "id": "g", "prompt": {"messages": [USER]}, "answers": [ANSWER]},
        {"format": 1, "id": "j", "group": "g", "rater": "r", "tiers": [["a"]]},
    )
    assert [sorted(a.text for a in g.answers) for g in read_groups(path)] == [["a", "b"], ["c"], ["d"], ["b"]]
    with pytest.raises(DataError, match="a prompt without an answer, but answers"):
        read_groups(write(tmp_path, {"prompt": "p"}))


def test_texts_are_prompts_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "one"}, {"text": "two"})
    assert len({d.prompt.id for d in read_demonstrations(path)}) == 2
    assert read_texts(path) == ["one", "two"]


BAD = {
    "unknown columns": ({"question": "q"}, "columns question are no known shape"),
    "no columns": ({}, r"columns \(none\)"),
    "number": ({"prompt": "p", "completion": 5}, "`completion` must be text, not 5|must both be"),
    "number in text": ({"text": 5}, "`text` must be text, not 5"),
    "empty prompt": ({"prompt": " ", "completion": "a"}, "the prompt is empty"),
    "empty text": ({"text": ""}, "`text` is empty"),
    "empty messages": ({"messages": []}, "`messages` is an empty list"),
    "no list": ({"messages": "hi"}, "`messages` must be a list"),
    "no message": ({"messages": ["hi"]}, r"`messages\[0\]` must be a message"),
    "no content": ({"messages": [{"role": "user"}]}, r"`messages\[0\]` must be a message"),
    "null content": ({"messages": [{**USER, "content": None}]}, r"messages\[0\].content` must be text"),
    "role": ({"messages": [{"role": "tool", "content": "x"}]}, "has the role 'tool'"),
    "reserved role": ({"messages": [{"role": "text", "content": "x"}]}, "has the role 'text'"),
    "tool calls": ({"messages": [{**USER, "tool_calls": [1]}]}, "key `tool_calls`"),
    "answer only": ({"messages": [said("a")]}, "user turn right before"),
    "ends in assistant": ({"prompt": [USER, said("a")], "completion": [said("b")]}, "user turn right before"),
    "mixed": ({"prompt": "p", "completion": [said("b")]}, "must both be strings or both be lists"),
    "mixed pair": ({"chosen": "a b", "rejected": [said("b")]}, "must both be strings or both be lists"),
    "mixed chosen": ({"prompt": "p", "chosen": [said("a")], "rejected": [said("b")]}, "does not hold it"),
    "two turns": ({"prompt": [USER], "completion": [said("a"), USER]}, "turn, not: assistant, user"),
    "no common turn": (
        {"chosen": [USER, said("a")], "rejected": [SYSTEM, said("b")]},
        r"part \(turn 1\), not: user, assistant",
    ),
    "parts early": (
        {"chosen": [USER, said("a"), USER, said("b")], "rejected": [USER, said("c"), USER, said("d")]},
        r"`chosen` must hold exactly one assistant turn .*\(turn 2\)",
    ),
    "no common words": ({"chosen": "four", "rejected": "forty"}, "the prompt is unknown"),
    "half transcript": ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c d"}, "must begin with"),
    "transcript of a question": ({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"}, "not: user"),
    "margin": ({"chosen": "p a", "rejected": "p b", "margin": "much"}, "`margin` must be .*, not 'much'"),
    "margin nan": ({"chosen": "p a", "rejected": "p b", "margin": float("nan")}, "`margin` must be a number"),
    "label": ({"prompt": "p", "completion": "a", "label": 2}, "`label` must be true or false, not 2"),
    "images": ({"prompt": "p", "images": ["x.png"]}, "column `images` is not supported"),
    "tools": ({"messages": [USER, said("a")], "tools": [{}]}, "column `tools` is not supported"),
    "surrogate": ({"text": "half \ud800"}, "half of a Unicode surrogate pair"),
    "surrogate in a tag": ({"prompt": "p", "note": ["\udfff"]}, "half of a Unicode surrogate pair"),
    "native": ({"format": 1, "prompt": {"messages": []}, "answer": ANSWER}, "Demonstration: prompt.messages"),
    "newer native": ({"format": 2, "prompt": {}, "answer": ANSWER}, "is no Demonstration: format"),
    "unknown native": ({"format": 1, "shape": "round"}, "are no record of ours"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_with_file_line_and_reason(name: str, tmp_path: Path) -> None:
    row, reason = BAD[name]
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    path = write(tmp_path, good, row)
    for read in (read_preferences, read_demonstrations, read_prompts):
        with pytest.raises(DataError, match=reason) as caught:
            read(path)
        assert caught.value.where == f"{path}:2"


def test_a_shape_that_does_not_serve_is_refused(tmp_path: Path) -> None:
    prompts = write(tmp_path, {"prompt": "p"}, name="p.jsonl")
    pairs = write(tmp_path, {"prompt": "p", "chosen": "a", "rejected": "b"}, name="c.jsonl")
    disliked = write(tmp_path, {"prompt": "p", "completion": "a", "label": False}, name="u.jsonl")
    for read, path, reason in [
        (read_demonstrations, prompts, "a prompt without an answer, but a demonstration"),
        (read_preferences, prompts, "a prompt without an answer, but a preference"),
        (read_unpaired, pairs, "a preference, but prompt, completion and label"),
        (read_texts, pairs, "a preference, but a column `text`"),
        (read_demonstrations, disliked, "holds no demonstrations"),
    ]:
        with pytest.raises(DataError, match=reason):
            read(path)


def test_messages_keep_their_text_exactly(tmp_path: Path) -> None:
    text = "  two blanks, a tab\t, an accent é, an astral 🜲, a line\u2028separator \n"
    (prompt,) = read_prompts(write(tmp_path, {"prompt": [{"role": "user", "content": text}]}))
    assert prompt.messages == (Message(role="user", content=text),)
