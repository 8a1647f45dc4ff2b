"""Check items from a file: pairs and rankings whose order is the known answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assent.core.errors import DataError
from assent.core.records import Answer, Group, Prompt
from assent.feedback.gold import Known
from assent.feedback.queue import SIZES
from assent.formats import load, shapes
from assent.formats.preferences import records_of


def read(path: Path) -> list[Known]:
    """The rows of a file, all or none. Raises DataError with the row's place.

    A row is a pair (`prompt`, `chosen`, `rejected`) or has `prompt` and `ranking`, a list of texts, best first, in
    which a list is a tie; and where it is known `explanation`.
    """
    found = []
    for where, row in load.read(path):
        place = where.removeprefix(f"{path}:").strip()
        try:
            found.append(known(row))
        except DataError as error:
            raise DataError(error.what, where=f"row {place}") from None
    if not found:
        raise DataError("holds no row", where="the file")
    return found


def known(row: dict[str, Any]) -> Known:
    """One row. Raises DataError."""
    rest = dict(row)
    explanation, ranking = rest.pop("explanation", ""), rest.pop("ranking", None)
    if not isinstance(explanation, str):
        raise DataError("`explanation` is no text")
    item = shapes.parse(rest)
    if ranking is not None and isinstance(item, Prompt):
        return _ranked(item, ranking, explanation)
    if not isinstance(item, shapes.Pair):
        raise DataError("needs `chosen` and `rejected`, or `prompt` and `ranking`")
    if item.chosen.text == item.rejected.text:
        raise DataError("the two answers are the same")
    group, judgment = records_of(item)
    return Known(group, judgment.tiers, explanation)


def _ranked(prompt: Prompt, ranking: Any, explanation: str) -> Known:
    places = [tier if isinstance(tier, list) else [tier] for tier in ranking] if isinstance(ranking, list) else []
    texts = [text for tier in places for text in tier]
    if not all(places) or not all(isinstance(text, str) for text in texts):
        raise DataError("`ranking` is a list of texts, best first; a list in it is a tie")
    least, most = SIZES["rank"]
    if not least <= len(texts) <= most or len(set(texts)) < len(texts):
        raise DataError(f"`ranking` needs {least} to {most} different texts")
    made = {text: Answer.of(prompt, text) for text in texts}
    group = Group(prompt=prompt, answers=tuple(sorted(made.values(), key=lambda answer: answer.id)))
    return Known(group, tuple(tuple(made[text].id for text in tier) for tier in places), explanation)
