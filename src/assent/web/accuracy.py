"""People, reward models and judges on one axis: how often each says what a person chose.

    accuracy = mean over people's choices (no tie, no check item) of  1 said the same | 1/2 called it a tie | 0 opposite

Of people it is one person against each other person on the same pair, the human ceiling: what somebody reaches who
judges as they do. A model that knows what most people prefer can come out a little above, since one person's choice
is noisy. The longer answer stands beside it, as the least that a model must beat. Every figure is over the pairs its
rater judged, which may be others for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from assent.core.records import Group
from assent.feedback.state import State
from assent.stats.agreement import FIRST, SECOND, TIE, Vote, votes
from assent.stats.bootstrap import Interval, mean_interval

RESAMPLES = 500
PEOPLE, LENGTH = "people", "length"


@dataclass(frozen=True)
class Accuracy:
    """One line of the picture. `found` None: too few prompts; `n` choices of people it was compared with."""

    name: str
    kind: str
    """`people`, `length`, or the rater's kind: `model`, `rule`."""
    found: Interval | None
    n: int


def accuracies(state: State) -> list[Accuracy]:
    """People with each other, then every model and rule, then the longer answer."""
    cast = votes(state.work, state.groups)
    chosen = [vote for vote in cast if vote.value in (FIRST, SECOND)]
    found = [_against(PEOPLE, PEOPLE, chosen, _by_item(cast))]
    for rater in state.raters:
        if rater.id not in state.people:
            found.append(_against(rater.id, rater.kind, chosen, _by_item(votes(state.by({rater.id}), state.groups))))
    longer = [Vote("", item, LENGTH, value) for item, value in longer_of(state.groups).items()]
    return [*found, _against(LENGTH, LENGTH, chosen, _by_item(longer))]


def longer_of(groups: Mapping[str, Group]) -> dict[str, str]:
    """Item -> which of its two answers has more characters: first, second, or a tie."""
    length = {answer.id: len(answer.text) for group in groups.values() for answer in group.answers}
    found = {}
    for group in groups.values():
        ids = sorted(answer.id for answer in group.answers)
        for place, first in enumerate(ids):
            for second in ids[place + 1 :]:
                gap = length[first] - length[second]
                found[f"{group.prompt.id}/{first}/{second}"] = FIRST if gap > 0 else SECOND if gap < 0 else TIE
    return found


def _by_item(cast: Iterable[Vote]) -> dict[str, list[Vote]]:
    by_item: dict[str, list[Vote]] = defaultdict(list)
    for vote in cast:
        by_item[vote.item].append(vote)
    return by_item


def _against(name: str, kind: str, chosen: Sequence[Vote], said: Mapping[str, Sequence[Vote]]) -> Accuracy:
    """How often `said` is what people chose; nobody is compared with himself."""
    scores, units = [], []
    for vote in chosen:
        others = [_score(other.value, vote.value) for other in said.get(vote.item, ()) if other.rater != vote.rater]
        if others:
            scores.append(sum(others) / len(others))
            units.append(vote.unit)
    return Accuracy(name, kind, mean_interval(scores, units, seed=0, resamples=RESAMPLES), len(scores))


def _score(said: str, chosen: str) -> float:
    return float(said == chosen) if said in (FIRST, SECOND) else 0.5
