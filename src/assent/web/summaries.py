"""What stands in the tables of the pages: judgments in words, agreement, the share of the first-shown answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from assent.core.records import Group, Judgment, Prompt
from assent.feedback.acts import SETTLED
from assent.feedback.reads import standing
from assent.stats.agreement import BOTH_BAD, FIRST, SECOND, TIE, Vote, nominal_alpha, raw_agreement, votes
from assent.stats.bootstrap import Interval
from assent.web import words
from assent.web.language import gettext as _
from assent.web.language import noted
from assent.web.page import when

FEWEST = 20
"""Answers under which a person's share is not shown."""
FEW = noted("ten prompts with two answers from different people")
BANDS = (
    (0.20, noted("guideline problem"), noted("people read it differently")),
    (0.35, noted("typical"), noted("as in most preference data")),
    (0.55, noted("good"), noted("people agree well")),
    (1.01, noted("very high"), noted("easy items, or one habit shared by all")),
)


@dataclass(frozen=True)
class Row:
    """One judgment as a table shows it."""

    when: str
    prompt: str
    said: str
    why: str


@dataclass(frozen=True)
class Share:
    """A share in words, and what it rests on."""

    text: str
    detail: str


@dataclass(frozen=True)
class Agreement:
    """How far people agree, with intervals, and what that means."""

    raw: Interval | None
    alpha: Interval | None
    band: str
    band_detail: str


@dataclass(frozen=True)
class Hard:
    """An item on which people differ: votes for the first, the tie, the second (by answer id), both bad."""

    prompt: str
    n: int
    counts: tuple[int, ...]


def _excerpt(text: str, most: int = 140) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def describe(judgment: Judgment, groups: Mapping[str, Group]) -> Row:
    """A judgment in words, as its rater saw it: answers by the letters of his screen."""
    group = groups.get(judgment.group)
    return Row(
        when=when(judgment.times["received"]) if "received" in judgment.times else "",
        prompt=_excerpt(group.prompt.text) if group else "",
        said=_said(judgment),
        why=" – ".join(part for part in (words.reasons(judgment.reasons), judgment.note) if part),
    )


def _said(judgment: Judgment) -> str:
    if judgment.outcome != "ranked":
        return _("both bad") if judgment.outcome == "both_bad" else _("skipped")
    letter = {answer: "ABCDEFGHI"[place] for place, answer in enumerate(judgment.shown_order[:9])}
    order = " > ".join(" = ".join(letter.get(a, "?") for a in tier) for tier in judgment.tiers)
    if not judgment.shown_order or not order:
        return _("written") if judgment.ideal else "–"
    return order + words.strength(judgment.strength) + (_(", ideal written") if judgment.ideal else "")


def left_share(judgments: Iterable[Judgment]) -> Share:
    """How often the answer shown first won, among choices between two in random order."""
    chosen = [
        judgment.tiers[0][0] == judgment.shown_order[0]
        for judgment in judgments
        if len(judgment.shown_order) == 2 and len(judgment.tiers) == 2 and SETTLED not in judgment.reasons
    ]
    if len(chosen) < FEWEST:
        return Share("–", _("n {n}, shown from {least}").format(n=len(chosen), least=FEWEST))
    share = sum(chosen) / len(chosen)
    z, n = 1.96, len(chosen)  # Wilson's interval: it stays inside 0 to 1 at small n
    middle, half = (share + z * z / (2 * n)), z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    detail = _("{low} to {high} %, n {n}").format(low=f"{100 * low:.0f}", high=f"{100 * high:.0f}", n=n)
    return Share(f"{100 * share:.0f} %", detail)


def cast_votes(judgments: Sequence[Judgment], groups: Mapping[str, Group]) -> list[Vote]:
    """Votes on pairs of answers; written answers are no votes, nor is what a reviewer said who knew the others'."""
    blind = [each for each in standing(list(judgments)) if SETTLED not in each.reasons]
    ranked = [each for each in blind if each.tiers or each.outcome != "ranked"]
    return votes([each for each in ranked if len(groups[each.group].answers) > 1], groups)


def agreement(cast: Sequence[Vote]) -> Agreement:
    """Agreement with its intervals; None of them below the smallest number of prompts."""
    raw = raw_agreement(cast, seed=0, resamples=500)
    alpha = nominal_alpha(cast, seed=0, resamples=500)
    if alpha is None:
        return Agreement(raw, alpha, noted("not enough data"), FEW)
    band = next((name, detail) for most, name, detail in BANDS if alpha.estimate < most)
    return Agreement(raw, alpha, *band)


def prompts_of(groups: Mapping[str, Group]) -> dict[str, Prompt]:
    """Item as votes name it -> its prompt. Ids come from outside and may hold the slash that joins them."""
    return {
        f"{group.prompt.id}/{first}/{second}": group.prompt
        for group in groups.values()
        for first, second in combinations(sorted(answer.id for answer in group.answers), 2)
    }


def hardest(cast: Sequence[Vote], groups: Mapping[str, Group], most: int = 20) -> list[Hard]:
    """Items whose votes oppose each other most."""
    prompts = prompts_of(groups)
    items: dict[str, Counter[str]] = {}
    for vote in cast:
        items.setdefault(vote.item, Counter())[vote.value] += 1
    split = [(item, count) for item, count in items.items() if len(count) > 1]
    split.sort(key=lambda pair: (-min(pair[1][FIRST], pair[1][SECOND]), -sum(pair[1].values()), pair[0]))
    return [
        Hard(
            _excerpt(prompts[item].text),
            sum(count.values()),
            tuple(count[k] for k in (FIRST, TIE, SECOND, BOTH_BAD)),
        )
        for item, count in split[:most]
    ]
