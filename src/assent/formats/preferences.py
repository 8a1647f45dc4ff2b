"""Preferences: groups, the judgments on them, and the raters who judged. Checked as a whole or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from assent.core.errors import DataError
from assent.core.hashing import content_id
from assent.core.records import Demonstration, Group, Judgment, Rater, check_tiers
from assent.formats.shapes import Pair

UNKNOWN = "unknown"
"""Rater of a preference file that does not say who judged."""
MARGIN = "margin"
"""Key in a judgment's `scores` of the margin that its file gave."""


@dataclass(frozen=True)
class Preferences:
    """Groups and judgments in the order of the file, without repetitions; every judgment fits its group."""

    groups: list[Group]
    judgments: list[Judgment]
    raters: list[Rater]

    def groups_by_id(self) -> dict[str, Group]:
        """Group id -> group."""
        return {group.id: group for group in self.groups}


def records_of(pair: Pair) -> tuple[Group, Judgment]:
    """A preference pair as a group of two answers and a judgment.

    The answers are ordered by id, so the same two texts make the same group whichever was preferred.
    Equal texts tie. The file's margin is kept as `scores["margin"]` (`margin` reads it back).
    """
    answers = tuple(sorted((pair.chosen, pair.rejected), key=lambda answer: answer.id))
    group = Group(prompt=pair.prompt, answers=answers)
    better, worse = pair.chosen.id, pair.rejected.id
    tiers = ((better,), (worse,)) if pair.chosen.text != pair.rejected.text else ((better, worse),)
    scores = None if pair.margin is None else {MARGIN: pair.margin}
    identity = content_id("judgment", group.id, UNKNOWN, tiers, pair.margin)
    return group, Judgment(id=identity, group=group.id, rater=UNKNOWN, tiers=tiers, scores=scores)


def margin(judgment: Judgment) -> float:
    """By how much the better answer was preferred, where the file said so; else 0."""
    return (judgment.scores or {}).get(MARGIN, 0.0)


def demonstrations_from_preferences(preferences: Preferences) -> list[Demonstration]:
    """The answers in the first tier of each ranking, to imitate; each once, its rater as author."""
    return first_choices(preferences.groups_by_id(), preferences.judgments)


def first_choices(groups: Mapping[str, Group], judgments: Iterable[Judgment]) -> list[Demonstration]:
    """The same for the groups and judgments alone."""
    found: dict[str, Demonstration] = {}
    for judgment in judgments:
        if judgment.outcome != "ranked" or not judgment.tiers:
            continue
        group = groups[judgment.group]
        for answer in () if is_blank(group) else group.answers:
            if answer.id in judgment.tiers[0]:
                found.setdefault(answer.id, Demonstration(prompt=group.prompt, answer=answer, author=judgment.rater))
    return list(found.values())


def is_blank(group: Group) -> bool:
    """Whether a group is a prompt that people were asked to answer: its one answer is empty and was never shown."""
    return len(group.answers) == 1 and not group.answers[0].text


@dataclass
class Collector:
    """Gathers groups and judgments from rows in any order; `finish` checks that they fit each other."""

    groups: dict[str, Group] = field(default_factory=dict)
    judgments: dict[str, tuple[Judgment, str]] = field(default_factory=dict)
    raters: dict[str, Rater] = field(default_factory=dict)

    def add_pair(self, pair: Pair, where: str) -> None:
        """A pair; a group that another row made is shared, with the tags of the first."""
        group, judgment = records_of(pair)
        self.groups.setdefault(group.id, group)
        self.add_judgment(judgment, where)

    def add_group(self, group: Group, where: str) -> None:
        """A group; the same one again is fine, another one under the same id is not."""
        if self.groups.setdefault(group.id, group) != group:
            raise DataError(f"group id {group.id} is repeated with other content", where=where)

    def add_judgment(self, judgment: Judgment, where: str) -> None:
        """A judgment; the same one again is fine, another one under the same id is not."""
        first, place = self.judgments.setdefault(judgment.id, (judgment, where))
        if first != judgment:
            raise DataError(
                f"judgment id {judgment.id} is repeated with other content",
                where=where,
                fix=f"it first stands at {place}; a correction has an id of its own and `supersedes`",
            )

    def add_rater(self, rater: Rater, where: str) -> None:
        """A rater; the same one again is fine, another one under the same id is not."""
        if self.raters.setdefault(rater.id, rater) != rater:
            raise DataError(f"rater id {rater.id} is repeated with other content", where=where)

    def finish(self, source: str) -> Preferences:
        """Everything gathered, after the checks that need all of it."""
        if not self.judgments:
            raise DataError(
                "holds no judgment", where=source, fix="preferences need pairs or rankings: docs/formats.md"
            )
        self.check()
        return Preferences(
            list(self.groups.values()), [j for j, _ in self.judgments.values()], list(self.raters.values())
        )

    def check(self) -> None:
        """Every judgment is of a group that is there and fits it; raters that no row describes are added."""
        for judgment, where in self.judgments.values():
            if judgment.group not in self.groups:
                raise DataError(
                    f"judgment {judgment.id} is on group {judgment.group}, which is not there",
                    where=where,
                    fix="put the groups in the same file or folder",
                )
            if problem := check_tiers(judgment, self.groups[judgment.group]):
                raise DataError(f"judgment {judgment.id}: {problem}", where=where)
        for judgment, _ in self.judgments.values():
            self.raters.setdefault(judgment.rater, Rater(id=judgment.rater))
