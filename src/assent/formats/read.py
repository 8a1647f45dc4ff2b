"""Whole datasets as records: prompts, demonstrations, preferences, unpaired answers. All of one or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from assent.core.errors import DataError
from assent.core.records import Demonstration, Group, Judgment, Prompt, Rater
from assent.formats import load
from assent.formats.preferences import Collector, Preferences, demonstrations_from_preferences, records_of
from assent.formats.shapes import Item, Pair, Unpaired, parse_all

T = TypeVar("T")
Source = str | Path
DOCS = "docs/formats.md lists the shapes and their columns"


def read_prompts(source: Source) -> list[Prompt]:
    """The prompts of a dataset of any shape, each once, with the tags of the first row that has it.

    `source` here and below: a file, a folder, or a hub id (`formats.load.read`). Raises DataError.
    """
    prompts: dict[str, Prompt] = {}
    for _, item in items(source):
        if isinstance(item, (Judgment, Rater)):
            continue
        prompt = item if isinstance(item, Prompt) else item.prompt
        prompts.setdefault(prompt.id, prompt)
    return _some(list(prompts.values()), source, "prompts")


def read_demonstrations(source: Source) -> list[Demonstration]:
    """Answers to imitate, each once: demonstrations, first choices of preferences, liked unpaired answers."""
    found: dict[tuple[str, str], Demonstration] = {}
    chosen = Collector()
    for where, item in items(source):
        if isinstance(item, Demonstration):
            _keep(found, item)
        elif isinstance(item, Unpaired):
            if item.liked:
                _keep(found, Demonstration(prompt=item.prompt, answer=item.answer))
        elif not collect(chosen, item, where):
            raise DataError("a prompt without an answer, but a demonstration is needed", where=where, fix=DOCS)
    if chosen.judgments:
        for demonstration in demonstrations_from_preferences(chosen.finish(str(source))):
            _keep(found, demonstration)
    return _some(list(found.values()), source, "demonstrations")


def read_preferences(source: Source) -> Preferences:
    """Groups and judgments: preference pairs (rater `unknown`), or our own records, in any order."""
    collector = Collector()
    for where, item in items(source):
        if not collect(collector, item, where):
            raise DataError(f"{_NAMES[type(item)]}, but a preference is needed", where=where, fix=DOCS)
    return collector.finish(str(source))


def read_groups(source: Source) -> list[Group]:
    """Every answer of a dataset, in groups: pairs as groups of two, demonstrations as groups of one."""
    groups: dict[str, Group] = {}
    for where, item in items(source):
        match item:
            case Judgment() | Rater():
                continue
            case Prompt():
                raise DataError("a prompt without an answer, but answers are needed", where=where, fix=DOCS)
            case Pair():
                group, _ = records_of(item)
            case Group():
                group = item
            case _:
                group = Group(prompt=item.prompt, answers=(item.answer,))
        groups.setdefault(group.id, group)
    return _some(list(groups.values()), source, "answers")


def read_texts(source: Source) -> list[str]:
    """The documents of a dataset with a column `text`, as they are: for pretraining."""
    texts: list[str] = []
    for where, item in items(source):
        if not isinstance(item, Demonstration) or item.prompt.text:
            raise DataError(f"{_NAMES[type(item)]}, but a column `text` is needed", where=where, fix=DOCS)
        texts.append(item.answer.text)
    return texts


def read_judgments(source: Source) -> list[Judgment]:
    """Every judgment of a dataset, from pairs or our own records; none is fine."""
    collector = Collector()
    for where, item in items(source):
        collect(collector, item, where)
    return collector.finish(str(source)).judgments if collector.judgments else []


def read_unpaired(source: Source) -> list[Unpaired]:
    """Answers with a thumb up or down."""
    found: list[Unpaired] = []
    for where, item in items(source):
        if not isinstance(item, Unpaired):
            raise DataError(f"{_NAMES[type(item)]}, but prompt, completion and label are needed", where=where, fix=DOCS)
        found.append(item)
    return found


_NAMES: dict[type, str] = {
    Prompt: "a prompt without an answer",
    Demonstration: "a demonstration",
    Pair: "a preference",
    Unpaired: "an unpaired answer",
    Group: "a group",
    Judgment: "a judgment",
    Rater: "a rater",
}


def items(source: Source) -> Iterator[tuple[str, Item]]:
    """(place, record) of every row, of a tree several; a bad row, or no row at all, raises DataError."""
    empty = True
    for where, row in load.read(source):
        empty = False
        try:
            found = parse_all(row)
        except DataError as error:
            raise DataError(error.what, where=where, fix=error.fix) from None
        for item in found:
            yield where, item
    if empty:
        raise DataError("is empty: it holds no rows", where=str(source))


def collect(collector: Collector, item: Item, where: str) -> bool:
    """Whether a record belongs to preferences; if so it is added."""
    match item:
        case Pair():
            collector.add_pair(item, where)
        case Group():
            collector.add_group(item, where)
        case Judgment():
            collector.add_judgment(item, where)
        case Rater():
            collector.add_rater(item, where)
        case _:
            return False
    return True


def _keep(found: dict[tuple[str, str], Demonstration], item: Demonstration) -> None:
    found.setdefault((item.prompt.id, item.answer.id), item)


def _some(values: list[T], source: Source, what: str) -> list[T]:
    if not values:
        raise DataError(f"holds no {what}", where=str(source), fix=DOCS)
    return values
