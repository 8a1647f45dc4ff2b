"""GSM8K's rows: the result becomes a tag, the solution a demonstration without the calculator's marks."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from assent.config.rewards import RewardSource
from assent.core.errors import DataError
from assent.core.records import Group
from assent.formats import read_demonstrations, read_preferences, read_prompts
from assent.rewards.rules import check, rule_of

DATA = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/gsm8k"
ROW = {
    "question": "Ann has $1,000 and spends 4 times $5. What is left?",
    "answer": "She spends 4*5 = $<<4*5=20>>20.\nSo 1000-20 = <<1000-20=980>>980 is left.\n#### 1,980",
}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path, ROW | {"level": 3})
    (found,) = read_demonstrations(path)
    assert [(m.role, m.content) for m in found.prompt.messages] == [("user", ROW["question"])]
    assert found.answer.text == "She spends 4*5 = $20.\nSo 1000-20 = 980 is left.\n#### 1,980"
    assert found.prompt.tags == {"answer": "1,980", "level": 3}
    (prompt,) = read_prompts(path)
    assert prompt == found.prompt


def test_the_solution_itself_is_exactly_right(tmp_path: Path) -> None:
    (found,) = read_demonstrations(write(tmp_path, ROW))
    rule = rule_of(RewardSource.model_validate({"exact": {}}))
    assert rule is not None
    assert rule[1].score([Group(prompt=found.prompt, answers=(found.answer,))]) == [[1.0]]


@pytest.mark.parametrize("answer", ["980", "#### \nnothing", "#### 1\nand more", {"text": "#### 1"}, 7])
def test_a_question_without_a_result_is_no_known_shape(tmp_path: Path, answer: object) -> None:
    with pytest.raises(DataError, match=r"data.jsonl:1: columns answer, question are no known shape"):
        read_prompts(write(tmp_path, {"question": "1+1?", "answer": answer}))


def test_it_is_no_preference(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a demonstration, but a preference is needed"):
        read_preferences(write(tmp_path, ROW))


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there: set ASSENT_TEST_DATA")
@pytest.mark.parametrize(("split", "rows"), [("train", 7473), ("test", 1319)])
def test_the_real_file_is_read_whole(split: str, rows: int) -> None:
    """Every result is a number, every solution scores 1 by the rule, and no mark of the calculator is left."""
    path = DATA / f"{split}.jsonl.gz"
    found = read_demonstrations(path)
    exact = RewardSource.model_validate({"exact": {}})
    rule = rule_of(exact)
    assert rule is not None and len(found) == rows
    assert check([exact], [d.prompt for d in found], str(path)) == 0
    scores = rule[1].score([Group(prompt=d.prompt, answers=(d.answer,)) for d in found])
    assert scores == [[1.0]] * rows
    assert not [d for d in found if "<<" in d.answer.text or ">>" in d.answer.text]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        raw = [json.loads(line) for line in file]
    assert all(re.fullmatch(r"-?[\d,.]+", d.prompt.tags["answer"]) for d in found)
    assert [d.prompt.text for d in found] == [row["question"] for row in raw]
    assert sum(len(row["answer"]) for row in raw) > sum(len(d.answer.text) for d in found)
