r"""GSM8K's rows: a word problem, its solution in steps, and the result after `####`, which can be checked.

    {"question": "...", "answer": "48/2 = <<48/2=24>>24 clips ...\n#### 72"}

Source: Cobbe et al. 2021 (arXiv 2110.14168), github.com/openai/grade-school-math, on the hub `openai/gsm8k` with the
configurations `main` and `socratic`. The marks `<<48/2=24>>` were calls of a calculator that no model here has: they
are taken out of the solution.
"""

from __future__ import annotations

import re
from typing import Any

from assent.core.records import Answer, Demonstration, Prompt
from assent.formats import values

RESULT = re.compile(r"#### ?(.+)\s*\Z")
CALCULATOR = re.compile(r"<<[^<>]*>>")


def is_row(row: dict[str, Any]) -> bool:
    """Whether a row is a question with a solution that ends in `#### RESULT`."""
    return "question" in row and isinstance(row.get("answer"), str) and RESULT.search(row["answer"]) is not None


def parse(row: dict[str, Any]) -> Demonstration:
    """The solution as a demonstration; its result becomes the prompt's tag `answer`, other columns tags as ever."""
    question, solution = values.text(row["question"], "question"), values.text(row["answer"], "answer")
    result = RESULT.search(solution)
    assert result is not None
    tags = {name: value for name, value in row.items() if name != "question"} | {"answer": result[1].strip()}
    prompt = Prompt.ask(question).model_copy(update={"tags": tags})
    return Demonstration(prompt=prompt, answer=Answer.of(prompt, CALCULATOR.sub("", solution)))
