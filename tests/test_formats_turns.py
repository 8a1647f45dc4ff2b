"""Conversations of several turns with a system message: every shape keeps every turn; what is no prompt is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.core.records import Prompt
from assent.formats import read_demonstrations, read_groups, read_preferences, read_prompts, read_unpaired

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "Where is Rome?"}
REPLY = {"role": "assistant", "content": "In Italy."}
SECOND = {"role": "user", "content": "And Paris?"}
TURNS = [SYSTEM, FIRST, REPLY, SECOND]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(prompt: Prompt) -> list[dict[str, str]]:
    return [message.model_dump() for message in prompt.messages]


NATIVE_GROUP = {
    "format": 1,
    "id": "g",
    "prompt": {"messages": TURNS},
    "answers": [{"id": "a", "text": "good"}, {"id": "b", "text": "bad"}],
}
NATIVE = [NATIVE_GROUP, {"format": 1, "id": "j", "group": "g", "rater": "r", "tiers": [["a"], ["b"]]}]
PREFERENCES = {
    "explicit": [{"prompt": TURNS, "chosen": [said("good")], "rejected": [said("bad")]}],
    "implicit": [{"chosen": [*TURNS, said("good")], "rejected": [*TURNS, said("bad")]}],
    "ultrafeedback": [
        {"prompt": "And Paris?", "chosen": [*TURNS, said("good")], "rejected": [*TURNS, said("bad")]},
    ],
    "native": NATIVE,
}


@pytest.mark.parametrize("shape", PREFERENCES)
def test_preferences_keep_every_turn(shape: str, tmp_path: Path) -> None:
    path = write(tmp_path, *PREFERENCES[shape])
    found = read_preferences(path)
    (group,), (judgment,) = found.groups, found.judgments
    texts = {answer.id: answer.text for answer in group.answers}
    assert turns(group.prompt) == TURNS
    assert [[texts[i] for i in tier] for tier in judgment.tiers] == [["good"], ["bad"]]
    assert [turns(prompt) for prompt in read_prompts(path)] == [TURNS]
    (demonstration,) = read_demonstrations(path)
    assert (turns(demonstration.prompt), demonstration.answer.text) == (TURNS, "good")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*TURNS, said("good")]},
        {"prompt": TURNS, "completion": [said("good")]},
        {"prompt": TURNS, "completion": [said("good")], "label": True},
        {"format": 1, "prompt": {"messages": TURNS}, "answer": {"id": "a", "text": "good"}},
    ],
)
def test_demonstrations_keep_every_turn(row: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, row)
    (found,) = read_demonstrations(path)
    assert (turns(found.prompt), found.answer.text) == (TURNS, "good")
    (group,) = read_groups(path)
    assert (turns(group.prompt), len(group.answers)) == (TURNS, 1)


@pytest.mark.parametrize("row", [{"messages": TURNS}, {"prompt": TURNS}, {"format": 1, "messages": TURNS}])
def test_prompts_keep_every_turn(row: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_prompts(write(tmp_path, row))
    assert turns(found) == TURNS


def test_unpaired_answers_keep_every_turn(tmp_path: Path) -> None:
    row = {"prompt": TURNS, "completion": [said("bad")], "label": False}
    (found,) = read_unpaired(write(tmp_path, row))
    assert (turns(found.prompt), found.liked) == (TURNS, False)


def test_the_system_message_is_part_of_what_is_asked(tmp_path: Path) -> None:
    """Other instructions, another prompt; the subject, the unit of the held-out split, stays the dialogue's."""
    other = [{"role": "system", "content": "Be long."}, *TURNS[1:]]
    prompts = read_prompts(write(tmp_path, {"prompt": TURNS}, {"prompt": other}, {"prompt": TURNS[1:]}))
    assert len({prompt.id for prompt in prompts}) == 3 and len({prompt.subject for prompt in prompts}) == 1


def test_turns_after_the_parting_are_refused(tmp_path: Path) -> None:
    row = {
        "chosen": [SYSTEM, FIRST, said("a"), SECOND, said("b")],
        "rejected": [SYSTEM, FIRST, said("c"), SECOND, said("d")],
    }
    with pytest.raises(DataError, match=r"exactly one assistant turn.*\(turn 3\), not: assistant, user, assistant"):
        read_preferences(write(tmp_path, row))


EMPTY = {"role": "system", "content": " \n"}
BAD = {
    "empty system": ([EMPTY, FIRST], r"`{name}\[0\]` is an empty system message(?s:.*)take the turn out"),
    "two systems": ([SYSTEM, SYSTEM, FIRST], r"`{name}\[1\]` is a second system message(?s:.*)join their texts"),
    "late system": ([FIRST, REPLY, SYSTEM, SECOND], r"`{name}\[2\]` is a system message after the start"),
    "unknown role": ([{"role": "critic", "content": "x"}], r"`{name}\[0\]` has the role 'critic'"),
    "no turn": ([], r"`{name}` is an empty list"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["prompt", "messages"])
def test_conversations_that_are_none(case: str, name: str, tmp_path: Path) -> None:
    given, why = BAD[case]
    with pytest.raises(DataError, match=why.format(name=name)) as error:
        read_prompts(write(tmp_path, {name: given}))
    assert "data.jsonl:1" in str(error.value)


@pytest.mark.parametrize("extra", [{"completion": [said("x")]}, {"chosen": [said("x")], "rejected": [said("y")]}, {}])
def test_a_prompt_that_ends_with_the_model_asks_nothing(extra: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="user turn right before the answer, not one of role assistant"):
        read_prompts(write(tmp_path, {"prompt": [SYSTEM, FIRST, REPLY], **extra}))


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([EMPTY, FIRST], r"`messages\[0\]` is an empty system message"),
        ([SYSTEM, SYSTEM, FIRST], r"`messages\[1\]` is a second system message"),
        ([SYSTEM, FIRST, REPLY], "ends with the turn of role assistant, so it asks nothing"),
        ([SYSTEM], "ends with the turn of role system"),
        ([{"role": "text", "content": "x"}, FIRST], "`text` stands alone"),
        ([FIRST, {"role": "text", "content": "x"}], "`text` stands alone"),
        ([{"role": "critic", "content": "x"}], r"is no Prompt: .*role"),
        ([], "is no Prompt"),
    ],
)
def test_our_own_prompts_are_checked_alike(messages: list[dict[str, str]], why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        read_prompts(write(tmp_path, {"format": 1, "messages": messages}))
    if messages:
        group = {**NATIVE_GROUP, "prompt": {"messages": messages}}
        with pytest.raises(DataError, match=why.replace("Prompt", "Group")):
            read_preferences(write(tmp_path, group, NATIVE[1]))
