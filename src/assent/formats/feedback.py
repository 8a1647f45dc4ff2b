"""All that people gave, read as a whole: groups, judgments, raters and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from assent.core.errors import DataError
from assent.core.hashing import content_id
from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt, Rater
from assent.formats.preferences import UNKNOWN, Collector
from assent.formats.read import DOCS, collect, items
from assent.formats.shapes import Unpaired

GROUPS, JUDGMENTS, RATERS, DEMONSTRATIONS = "groups.jsonl", "judgments.jsonl", "raters.jsonl", "demonstrations.jsonl"
RECORDS = (GROUPS, JUDGMENTS, RATERS, DEMONSTRATIONS)
"""Files of our own records: what a finished `collect` step, a snapshot and a native export hold."""
UNDONE = "undone"
"""Reason of a skip that only takes back what it supersedes."""


@dataclass(frozen=True)
class Feedback:
    """Records in the order in which they were read; every judgment fits its group."""

    groups: list[Group] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    raters: list[Rater] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    """Prompts without an answer: nothing to export, but something to ask people."""

    def by_id(self) -> dict[str, Group]:
        """Group id -> group."""
        return {group.id: group for group in self.groups}


def read_feedback(source: str | Path) -> Feedback:
    """A finished `collect` step, a folder, a file or a hub id, of any shape; all of it or a DataError.

    A row with a thumb becomes a group of one answer with a judgment: in a tier of its own, or `both_bad`.
    """
    collector, found, prompts = Collector(), dict[tuple[str, str], Demonstration](), dict[str, Prompt]()
    for where, item in chain.from_iterable(map(items, _places(source))):
        if isinstance(item, Demonstration):
            found.setdefault((item.prompt.id, item.answer.id), item)
        elif isinstance(item, Unpaired):
            _thumb(collector, item, where)
        elif isinstance(item, Prompt):
            prompts.setdefault(item.id, item)
        elif not collect(collector, item, where):
            raise DataError("is no feedback", where=where, fix=DOCS)
    collector.check()
    return Feedback(
        list(collector.groups.values()),
        [judgment for judgment, _ in collector.judgments.values()],
        list(collector.raters.values()),
        list(found.values()),
        list(prompts.values()),
    )


def current(judgments: Sequence[Judgment]) -> list[Judgment]:
    """Judgments that stand: no later one supersedes them, and they take none back."""
    superseded = {j.supersedes for j in judgments if j.supersedes}
    return [j for j in judgments if j.id not in superseded and not _takes_back(j)]


def _takes_back(judgment: Judgment) -> bool:
    return judgment.outcome == "skip" and judgment.supersedes is not None and UNDONE in judgment.reasons


def _places(source: str | Path) -> Sequence[str | Path]:
    """The files of a step's folder or a snapshot that hold records; else the source itself."""
    path = Path(source).expanduser()
    for folder in (path / "data", path):
        if (folder / GROUPS).is_file():
            return [folder / name for name in RECORDS if _holds_rows(folder / name)]
    if steps := sorted(str(step.parent.parent) for step in path.glob(f"*/data/{JUDGMENTS}")):
        raise DataError("is a run of several steps", where=str(path), fix=f"name one of them: {', '.join(steps)}")
    return [source]


def _holds_rows(path: Path) -> bool:
    """Whether a file of records is there and not empty: a store without demonstrations writes an empty one."""
    return path.is_file() and path.stat().st_size > 0


def _thumb(collector: Collector, item: Unpaired, where: str) -> None:
    answer: Answer = item.answer
    group = Group(prompt=item.prompt, answers=(answer,))
    collector.groups.setdefault(group.id, group)
    identity = content_id("judgment", group.id, UNKNOWN, item.liked)
    liked = {"outcome": "ranked", "tiers": ((answer.id,),)} if item.liked else {"outcome": "both_bad"}
    collector.add_judgment(
        Judgment.model_validate({"id": identity, "group": group.id, "rater": UNKNOWN, **liked}), where
    )
