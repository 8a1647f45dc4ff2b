"""Open-Assistant's trees and OpenAI's preference rows: read, and refused with place and reason."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.formats import read_demonstrations, read_groups, read_preferences, read_prompts
from assent.formats.feedback import read_feedback

SAMPLES = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/open-assistant-samples"


def said(role: str, text: str, *replies: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"message_id": text, "role": role, "text": text, "replies": list(replies), **rest}


TREE = {
    "message_tree_id": "t1",
    "tree_state": "ready_for_export",
    "prompt": said(
        "prompter",
        "Where is Rome?",
        said("assistant", "In France.", rank=1),
        said(
            "assistant",
            "In Italy.",
            said("prompter", "And Paris?", said("assistant", "In France.", rank=0), said("assistant", "Hm.", rank=1)),
            rank=0,
        ),
        said("assistant", "Buy pills.", rank=2, deleted=True),
        said("assistant", "Rude.", rank=3, review_result=False),
        said("assistant", "In Lazio.", rank=None),
        lang="en",
    ),
}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_prompt_of_a_tree_is_a_group_with_its_ranking(tmp_path: Path) -> None:
    found = read_preferences(write(tmp_path, TREE))
    ranked = [(j, found.groups_by_id()[j.group]) for j in found.judgments]
    seen = [
        ([m.content for m in g.prompt.messages], [next(a.text for a in g.answers if a.id == t[0]) for t in j.tiers])
        for j, g in ranked
    ]
    assert seen == [
        (["Where is Rome?"], ["In Italy.", "In France."]),
        (["Where is Rome?", "In Italy.", "And Paris?"], ["In France.", "Hm."]),
    ]
    assert [[a.text for a in g.answers] for g in found.groups][1] == ["In Lazio."]  # compared by nobody
    assert found.groups[0].prompt.tags == {"message_tree_id": "t1", "lang": "en"}
    assert [(r.id, r.kind) for r in found.raters] == [("open-assistant", "unknown")]
    assert [d.answer.text for d in read_demonstrations(tmp_path)] == ["In Italy.", "In France."]
    assert len(read_groups(tmp_path)) == 3 and len(read_prompts(tmp_path)) == 2


def test_the_root_alone_is_read_the_same(tmp_path: Path) -> None:
    tree, root = (read_preferences(write(tmp_path, row)) for row in (TREE, TREE["prompt"]))
    assert [g.id for g in root.groups] == [g.id for g in tree.groups] and root.judgments == tree.judgments


def damaged(*path: Any, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    at: Any = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (damaged("prompt", "role", value="assistant"), "here speaks the prompter"),
        (damaged("prompt", "replies", 0, "role", value="prompter"), "here speaks the assistant"),
        (damaged("prompt", "replies", 0, "text", value=None), "must be text"),
        (damaged("prompt", "replies", 0, "rank", value="first"), "`rank` must be a whole number"),
        (damaged("prompt", "replies", 1, value="hello"), "must hold role and text"),
        (damaged("prompt", "replies", value={"a": 1}), "`replies` must be a list"),
        (damaged("prompt", value={"text": "Where is Rome?"}), "must hold role and text"),
    ],
)
def test_a_damaged_tree_is_refused_as_a_whole(tmp_path: Path, row: Any, reason: str) -> None:
    path = write(tmp_path, TREE, row)
    with pytest.raises(DataError, match=reason) as caught:
        read_feedback(path)
    assert caught.value.where == f"{path}:2"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no Open-Assistant samples: set ASSENT_TEST_DATA")
@pytest.mark.parametrize("name", ["en_100_tree.jsonl.gz", "en_100_message.jsonl.gz"])
def test_the_projects_own_samples(name: str) -> None:
    found = read_feedback(SAMPLES / name)
    assert len({g.prompt.subject for g in found.groups}) == 100
    assert all(len(found.by_id()[j.group].answers) == len(j.tiers) for j in found.judgments)
    assert len(found.judgments) == 212


OPENAI: dict[str, Any] = {
    "input": {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Rome?"}],
        "tools": [],
        "parallel_tool_calls": True,
    },
    "preferred_output": [{"role": "assistant", "content": "In Italy."}],
    "non_preferred_output": [{"role": "assistant", "content": "In France."}],
}


def test_openai_preference_rows(tmp_path: Path) -> None:
    found = read_preferences(write(tmp_path, {**OPENAI, "source": "x"}))
    (group,), (judgment,) = found.groups, found.judgments
    assert [m.role for m in group.prompt.messages] == ["system", "user"] and group.prompt.tags == {"source": "x"}
    assert next(a.text for a in group.answers if a.id == judgment.tiers[0][0]) == "In Italy."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input": "Where is Rome?"}, "`input` must be an object"),
        ({"input": {"messages": []}}, "is an empty list"),
        ({"input": {**OPENAI["input"], "tools": [{"type": "function"}]}}, "`tools` is not supported"),
        ({"preferred_output": [{"role": "tool", "content": "x"}]}, "has the role 'tool'"),
        ({"preferred_output": "In Italy."}, "must both be"),
    ],
)
def test_openai_rows_that_cannot_be_read(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = write(tmp_path, OPENAI, {**OPENAI, **change})
    with pytest.raises(DataError, match=reason) as caught:
        read_preferences(path)
    assert caught.value.where == f"{path}:2"
