"""HH-RLHF transcripts, made up and real."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from assent.core.errors import DataError
from assent.core.records import Message
from assent.formats import read_demonstrations, read_preferences, read_prompts
from assent.formats.hh import to_messages, to_text

HH = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/hh-rlhf"


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("\n\nHuman: Hi\n\nAssistant: Ho", ["Hi", "Ho"]),
        ("\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: a\n\nb\n\nAssistant: ", ["Hi", "Ho", "a\n\nb", ""]),
        # one blank belongs to the marker, the rest to the text; a line that only looks like a marker is text
        ("\n\nHuman:  Hi \n\nAssistant: x\nHuman: y", [" Hi ", "x\nHuman: y"]),
        # a marker where the other speaker is due was written by the model itself
        ("\n\nHuman: Hi\n\nAssistant: a\n\nAssistant: b", ["Hi", "a\n\nAssistant: b"]),
    ],
)
def test_turns(text: str, turns: list[str]) -> None:
    messages = to_messages(text)
    assert [m.content for m in messages] == turns
    assert [m.role for m in messages] == ["user", "assistant"][: len(turns)] * (len(turns) // 2)
    assert to_text(messages) == text


def test_what_is_no_transcript() -> None:
    for text in ("Human: Hi", "\n\nAssistant: Hi", "", "\n\nhuman: Hi"):
        with pytest.raises(DataError, match="must begin with"):
            to_messages(text)
    with pytest.raises(DataError, match="no place for a turn of role `system`"):
        to_text([Message(role="system", content="x")])


def test_the_real_set() -> None:
    if not HH.exists():
        pytest.skip(f"no {HH}; set ASSENT_TEST_DATA to the folder that holds data/")
    with gzip.open(HH / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = read_preferences(HH)
    groups = found.groups_by_id()
    assert len(rows) == len(found.groups) == len(found.judgments) == len(read_demonstrations(HH)) == 2312
    assert len(read_prompts(HH)) == 2310  # two prompts were asked twice, with other answers
    for row, judgment in zip(rows, found.judgments, strict=True):
        group = groups[judgment.group]
        assert len(group.prompt.messages) == 2 * row["chosen"].count("\n\nHuman:") - 1
        texts = {answer.id: answer.text for answer in group.answers}
        for column, (answer,) in zip(("chosen", "rejected"), judgment.tiers, strict=True):
            said = Message(role="assistant", content=texts[answer])
            assert to_text([*group.prompt.messages, said]) == row[column]
