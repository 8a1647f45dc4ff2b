"""The members of an ensemble of reward models: what each one learns from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assent.config.preferences import Ensemble
from assent.core.errors import DataError
from assent.core.records import Group, Judgment, Rater
from assent.core.seeds import generator, order


@dataclass(frozen=True)
class Member:
    """One reward model of a step: the training judgments it learns from."""

    judgments: list[Judgment]
    number: int | None = None
    """From 1; None where it is the only one."""
    of: str = ""
    """What sets it apart, for people to read."""
    times: dict[str, int] | None = None
    """Subject -> how often it was drawn; None: every subject once."""

    @property
    def names(self) -> tuple[int, ...]:
        """What seeds of its own are named by."""
        return () if self.number is None else (self.number,)

    def folder(self, parent: Path) -> Path:
        """Where it lies in a folder of the step; the folder itself where it is the only one."""
        return parent if self.number is None else parent / f"member-{self.number}"

    def draws(self, group: Group) -> int:
        """How often it learns from a group in a pass."""
        return 1 if self.times is None else self.times.get(group.prompt.subject, 0)

    @property
    def label(self) -> str:
        """`member 2 (guideline brief)`."""
        return f"member {self.number}" + (f" ({self.of})" if self.of else "")


def members_of(
    ensemble: Ensemble,
    groups: Sequence[Group],
    judgments: Sequence[Judgment],
    raters: Sequence[Rater],
    seed: int,
    where: str,
) -> list[Member]:
    """The members, in an order that depends on the data's content alone.

    `judgments` are the training side's, `groups` those that have a pair. Raises DataError where the data does not
    tell members apart.
    """
    if ensemble.differ == "seed":
        return [Member(list(judgments), i, f"seed {i}") for i in range(1, ensemble.members + 1)]
    if ensemble.differ == "bootstrap":
        judged = {judgment.group for judgment in judgments}
        subjects = sorted({group.prompt.subject for group in groups if group.id in judged})
        if len(subjects) == 1:
            raise DataError(
                f"all judgments with a pair are about one subject ({subjects[0]}), so every draw is the same",
                where=f"{where}.ensemble.differ",
                fix="judgments about more subjects, or `differ: seed`",
            )
        return [
            Member(list(judgments), i, f"bootstrap {i}", _drawn(subjects, seed, i))
            for i in range(1, ensemble.members + 1)
        ]
    slices = _slices(ensemble, judgments, raters, seed, where)
    return [Member(found, i, of) for i, (of, found) in enumerate(sorted(slices.items()), 1)]


def _drawn(subjects: Sequence[str], seed: int, member: int) -> dict[str, int]:
    """As many subjects as there are, drawn with replacement: subject -> times."""
    places = generator(seed, "bootstrap", member).integers(len(subjects), size=len(subjects)) if subjects else ()
    return Counter(subjects[int(i)] for i in places)


def _slices(
    ensemble: Ensemble, judgments: Sequence[Judgment], raters: Sequence[Rater], seed: int, where: str
) -> dict[str, list[Judgment]]:
    """Judgments by what sets the members apart."""
    if ensemble.differ == "raters":
        share = _shares(sorted({judgment.rater for judgment in judgments}), ensemble.members, seed, where)
        return _by(judgments, lambda judgment: share[judgment.rater])
    if ensemble.differ == "guideline":
        found = _by(judgments, lambda judgment: f"guideline {judgment.guideline or 'none named'}")
    else:
        name = str(ensemble.attribute)
        known = {rater.id: f"{name} {rater.attributes[name]}" for rater in raters if name in rater.attributes}
        if not known:
            listed = sorted({key for rater in raters for key in rater.attributes})
            raise DataError(
                f"no rater has the attribute `{name}`",
                where=f"{where}.ensemble.attribute",
                fix=f"take one of {', '.join(listed)}" if listed else "these raters have no attributes",
            )
        found = _by([j for j in judgments if j.rater in known], lambda judgment: known[judgment.rater])
    if len(found) < 2:
        raise DataError(
            f"there is only {next(iter(found), 'nothing')}, but an ensemble has at least two members",
            where=f"{where}.ensemble.differ",
            fix="`differ: bootstrap`, or judgments that differ in it",
        )
    return found


def _shares(raters: Sequence[str], members: int, seed: int, where: str) -> dict[str, str]:
    """Rater -> the share he is in; as equal in number as can be."""
    if len(raters) < members:
        raise DataError(
            f"{members} members, but only {len(raters)} raters judged training prompts",
            where=f"{where}.ensemble.members",
            fix="fewer members, or `differ: bootstrap`",
        )
    width = len(str(members))
    return {raters[i]: f"raters {1 + n % members:0{width}}" for n, i in enumerate(order(len(raters), seed, "raters"))}


def _by(judgments: Sequence[Judgment], key: Callable[[Judgment], Hashable]) -> dict[str, list[Judgment]]:
    found: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        found[str(key(judgment))].append(judgment)
    return dict(found)
