"""Which records an export takes: filters, and the split by prompt and by group of raters. What goes is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from assent.core.errors import DataError
from assent.core.hashing import hash_int, is_held_out
from assent.core.records import Demonstration, Group, Judgment, Rater
from assent.feedback.acts import SETTLED
from assent.formats.feedback import Feedback, current
from assent.formats.write import LeftOut
from assent.stats.agreement import votes

Stratum = Literal["single", "unanimous", "majority", "split"]
STRATA: tuple[Stratum, ...] = get_args(Stratum)
NO_GUIDELINE = "none"
"""Name of judgments that are stamped with no guideline."""


@dataclass(frozen=True)
class Filters:
    """An empty set takes all. Superseded judgments go with the one that supersedes them."""

    guidelines: frozenset[str] = frozenset()
    """Guideline versions, or their beginnings; `none` for judgments without one."""
    agreement: frozenset[str] = frozenset()
    """Strata of groups (`strata`)."""
    raters: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    checks: bool = True
    """Whether gold items and repeats are taken: they were asked to check raters, not to learn from."""

    def any(self) -> bool:
        """Whether something may be left out."""
        return self != Filters()


def strata(feedback: Feedback) -> dict[str, Stratum]:
    """Group id -> how far its raters agree, by the pair of answers they agree least on.

    `single`: no pair has two raters; `unanimous`: all said the same; `majority`: one verdict has more than half of
    the votes; `split`: none has. A tie and both-bad are verdicts like any other; what settled a case is no vote.
    """
    by_pair: dict[str, dict[str, Counter[str]]] = {}
    groups = feedback.by_id()
    for judgment_group, judgments in _by_group(feedback.judgments).items():
        for vote in votes([j for j in judgments if SETTLED not in j.reasons], groups):
            by_pair.setdefault(judgment_group, {}).setdefault(vote.item, Counter())[vote.value] += 1
    return {group.id: _stratum(by_pair.get(group.id, {}).values()) for group in feedback.groups}


def _by_group(judgments: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    found: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        found.setdefault(judgment.group, []).append(judgment)
    return found


def _stratum(pairs: Iterable[Counter[str]]) -> Stratum:
    compared = [counts for counts in pairs if counts.total() > 1]
    if not compared:
        return "single"
    share = min(max(counts.values()) / counts.total() for counts in compared)
    return "unanimous" if share == 1 else "majority" if share > 0.5 else "split"


def select(feedback: Feedback, filters: Filters, left_out: LeftOut) -> Feedback:
    """What the filters take. Groups that lose all their judgments go, and raters who have none left."""
    if not filters.any():
        return feedback
    _check(feedback, filters)
    raters = {rater.id: rater for rater in feedback.raters}
    agreed = strata(feedback) if filters.agreement else {}
    kept: set[str] = set()
    for judgment in current(feedback.judgments):
        if reason := _refused(judgment, filters, raters[judgment.rater].kind, agreed.get(judgment.group, "")):
            left_out[reason] += 1
        else:
            kept.add(judgment.id)
    authors = [d for d in feedback.demonstrations if _author_fits(d, filters, raters)]
    left_out["filter: author of a demonstration"] += len(feedback.demonstrations) - len(authors)
    return _with(replace(feedback, demonstrations=authors), kept)


def _check(feedback: Feedback, filters: Filters) -> None:
    """Refuse a name that no record has: an export without it would be empty, or whole, for a slip of the pen."""
    versions = {j.guideline or NO_GUIDELINE for j in feedback.judgments}
    for asked in sorted(filters.guidelines):
        if not any(version.startswith(asked) for version in versions):
            _unknown("guideline", asked, versions)
    for what, wanted, known in (
        ("rater", filters.raters, {r.id for r in feedback.raters}),
        ("kind of rater", filters.kinds, {r.kind for r in feedback.raters}),
        ("outcome", filters.outcomes, {"ranked", "both_bad", "skip"}),
        ("agreement stratum", filters.agreement, {*STRATA}),
    ):
        if odd := sorted(wanted - known):
            _unknown(what, odd[0], known)


def _unknown(what: str, name: str, known: Iterable[str]) -> None:
    listed = sorted(known)
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    raise DataError(f"no judgment has the {what} `{name}`", fix=f"there is: {', '.join(listed[:10])}{more}")


def _refused(judgment: Judgment, filters: Filters, kind: str, stratum: str) -> str | None:
    version = judgment.guideline or NO_GUIDELINE
    if filters.guidelines and not any(version.startswith(asked) for asked in filters.guidelines):
        return "filter: guideline"
    if filters.raters and judgment.rater not in filters.raters:
        return "filter: rater"
    if filters.kinds and kind not in filters.kinds:
        return "filter: kind of rater"
    if filters.outcomes and judgment.outcome not in filters.outcomes:
        return "filter: outcome"
    if filters.agreement and stratum not in filters.agreement:
        return "filter: agreement stratum"
    if not filters.checks and (judgment.is_gold or judgment.is_repeat):
        return "gold or repeat: asked to check raters"
    return None


def _author_fits(demonstration: Demonstration, filters: Filters, raters: Mapping[str, Rater]) -> bool:
    author = demonstration.author
    kind = raters[author].kind if author in raters else "unknown"
    return (not filters.raters or author in filters.raters) and (not filters.kinds or kind in filters.kinds)


def _with(feedback: Feedback, kept: set[str]) -> Feedback:
    """The records that belong to the judgments `kept`; groups and raters that never had a judgment stay."""
    history = {j.id: j.supersedes for j in feedback.judgments}
    whole = set(kept)
    for name in kept:
        before = history[name]
        while before and before not in whole:
            whole.add(before)
            before = history.get(before)
    judgments = [j for j in feedback.judgments if j.id in whole]
    groups = _still_used([g.id for g in feedback.groups], feedback.judgments, judgments, lambda j: j.group)
    raters = _still_used([r.id for r in feedback.raters], feedback.judgments, judgments, lambda j: j.rater)
    raters |= {d.author for d in feedback.demonstrations}
    return replace(
        feedback,
        groups=[g for g in feedback.groups if g.id in groups],
        judgments=judgments,
        raters=[r for r in feedback.raters if r.id in raters],
    )


def _still_used(
    names: Iterable[str], before: Sequence[Judgment], after: Sequence[Judgment], of: Callable[[Judgment], str]
) -> set[str]:
    had, has = {of(j) for j in before}, {of(j) for j in after}
    return {name for name in names if name in has or name not in had}


# The split


@dataclass(frozen=True)
class Split:
    """Shares of prompts and of rater groups that are held out, 0 for none."""

    prompts: float = 0.0
    """By the prompt's subject, with the hash that recipes use: the same share holds out the same prompts."""
    raters: float = 0.0
    by: str = "id"
    """What makes a group of raters: an attribute's name, or `id` for each rater alone."""

    def any(self) -> bool:
        """Whether there are two sides."""
        return self.prompts > 0 or self.raters > 0


@dataclass
class Sides:
    """The two sides of a split."""

    train: Feedback
    test: Feedback = field(default_factory=Feedback)


def divide(feedback: Feedback, split: Split, left_out: LeftOut) -> Sides:
    """Train and test. With both shares a test row has an unseen prompt and an unseen rater; mixed ones are left out."""
    if not split.any():
        return Sides(feedback)
    groups, away = feedback.by_id(), _held_out_raters(feedback, split)
    sides: dict[bool, set[str]] = {False: set(), True: set()}
    for judgment in current(feedback.judgments):
        side = _side(groups[judgment.group], judgment.rater, split, away)
        if side is None:
            left_out["split: its prompt and its rater stand on different sides"] += 1
        else:
            sides[side].add(judgment.id)
    train, test = (_half(feedback, side, split, away, sides[side], left_out) for side in (False, True))
    return Sides(train, test)


def _side(group: Group | Demonstration, rater: str, split: Split, away: set[str]) -> bool | None:
    """Whether it is for the test, None where prompt and rater disagree."""
    by_prompt = is_held_out(group.prompt.subject, split.prompts)
    if not split.raters:
        return by_prompt
    by_rater = rater in away
    if not split.prompts:
        return by_rater
    return by_prompt if by_prompt == by_rater else None


def _half(feedback: Feedback, test: bool, split: Split, away: set[str], kept: set[str], left_out: LeftOut) -> Feedback:
    judged = {j.group for j in feedback.judgments}
    demonstrations = [d for d in feedback.demonstrations if _side(d, d.author, split, away) is test]
    if test:
        mixed = sum(_side(d, d.author, split, away) is None for d in feedback.demonstrations)
        left_out["split: its prompt and its author stand on different sides"] += mixed
    groups = [g for g in feedback.groups if g.id in judged or is_held_out(g.prompt.subject, split.prompts) is test]
    used = {j.rater for j in feedback.judgments if j.id in kept} | {d.author for d in demonstrations}
    idle = {r.id for r in feedback.raters} - {j.rater for j in feedback.judgments}
    half = _with(replace(feedback, groups=groups, demonstrations=demonstrations), kept)
    return replace(half, raters=[r for r in feedback.raters if r.id in used or (r.id in idle and not test)])


def _held_out_raters(feedback: Feedback, split: Split) -> set[str]:
    """Raters whose group is held out: the groups in the order of a hash, the share rounded, at least one a side."""
    if not split.raters:
        return set()
    named = {r.id: r.id if split.by == "id" else str(r.attributes.get(split.by, "")) for r in feedback.raters}
    names = sorted(set(named.values()), key=lambda name: hash_int("held-out raters", name))
    if len(names) < 2:
        raise DataError(
            f"all raters are of one group by `{split.by}`, so none can be held out",
            fix="split by `id` or by an attribute that differs",
        )
    away = {*names[: min(max(1, round(split.raters * len(names))), len(names) - 1)]}
    return {rater for rater, name in named.items() if name in away}
