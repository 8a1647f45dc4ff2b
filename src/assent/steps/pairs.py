"""From judgments to the pairs that reward models and the DPO family learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from assent.config.preferences import Labels
from assent.core.errors import ConfigError, DataError
from assent.core.records import Group, Judgment, Rater, check_tiers, preference_pairs
from assent.formats.preferences import margin
from assent.methods.pairs import Pair

Pairs = dict[str, list[Pair]]
"""Group id -> its pairs."""
KIND = "kind:"


def current(judgments: Sequence[Judgment]) -> list[Judgment]:
    """Judgments that no later one supersedes."""
    superseded = {j.supersedes for j in judgments if j.supersedes}
    return [j for j in judgments if j.id not in superseded]


def pairs_of(
    groups: Sequence[Group],
    judgments: Sequence[Judgment],
    labels: Labels | None = None,
    raters: Sequence[Rater] = (),
    only: str = "all",
) -> Pairs:
    """Preference pairs by group; the pairs of one judgment share its weight. `only="ends"`: first tier against last.

    Raises DataError where a judgment does not fit its group, ConfigError where `labels.weights` names nobody.
    """
    labels = labels or Labels()
    weights = _weights(labels, raters)
    by_id = {group.id: group for group in groups}
    pairs: Pairs = defaultdict(list)
    for judgment in current(judgments):
        if judgment.outcome != "ranked":
            continue
        group = by_id.get(judgment.group)
        problem = "names no known group" if group is None else check_tiers(judgment, group)
        if group is None or problem:
            raise DataError(str(problem), where=f"judgment {judgment.id}")
        weight = weights.get(judgment.rater, 1.0)
        found = _labelled(judgment, group, labels, only)
        if weight and found:
            pairs[group.id] += [
                Pair(better, worse, weight / len(found), margin(judgment), prob) for better, worse, prob in found
            ]
    return dict(pairs)


def check_soft(judgments: Sequence[Judgment], labels: Labels) -> None:
    """ConfigError where `labels.soft` is asked for and no ranking has probabilities: it would change nothing."""
    if labels.soft and not any(j.probs is not None for j in current(judgments) if j.outcome == "ranked"):
        raise ConfigError(
            "no judgment has `probs`, so there is nothing to learn softly",
            where="labels.soft",
            fix="leave it out, or give the judgments `probs`: docs/formats.md",
        )


def why_none(asked: Mapping[str, Group], judgments: Sequence[Judgment], with_pairs: int) -> str:
    """Why judgments of the groups that were `asked` leave nothing to learn from; `with_pairs` of them made pairs."""
    ranked = [j for j in judgments if j.outcome == "ranked" and j.group in asked]
    if with_pairs:
        return f"none of {with_pairs} groups fits into the model, or into limits.max_length"
    if not ranked:
        return "no judgment of a training prompt is a ranking"
    if all(len({a.text for a in asked[j.group].answers}) == 1 for j in ranked):
        return f"in all {len(ranked)} rankings the answers are identical"
    if all(len(j.tiers) < 2 for j in ranked):
        return f"all {len(ranked)} rankings are ties"
    return f"of {len(ranked)} rankings every pair is a tie, or of identical answers, or of weight 0"


def _labelled(judgment: Judgment, group: Group, labels: Labels, only: str) -> list[tuple[int, int, float]]:
    """(better, worse, probability) of each pair; identical texts make none."""
    if only == "ends" and len(judgment.tiers) > 1:
        return [pair for pair in _labelled(_ends(judgment), group, labels, "all") if _apart(*pair[:2], judgment, group)]
    if labels.soft and judgment.probs is not None:
        return _by_probability(judgment, group, labels)
    found = [(better, worse, 1.0) for better, worse in preference_pairs(judgment, group)]
    if labels.ties == "half":
        place = {answer.id: i for i, answer in enumerate(group.answers)}
        tied = [(place[a], place[b]) for tier in judgment.tiers for a, b in combinations(tier, 2)]
        found += [(a, b, 0.5) for a, b in tied if group.answers[a].text != group.answers[b].text]
    return found


def _ends(judgment: Judgment) -> Judgment:
    return judgment.model_copy(update={"tiers": (judgment.tiers[0], judgment.tiers[-1])})


def _apart(a: int, b: int, judgment: Judgment, group: Group) -> bool:
    """Whether exactly one of two answers stands in the first tier."""
    return (group.answers[a].id in judgment.tiers[0]) != (group.answers[b].id in judgment.tiers[0])


def _by_probability(judgment: Judgment, group: Group, labels: Labels) -> list[tuple[int, int, float]]:
    """Of two answers the one is better with probability p_i / (p_i + p_j) (Luce 1959)."""
    probs = judgment.probs or {}
    placed = [a for tier in judgment.tiers for a in tier]
    place = {answer.id: i for i, answer in enumerate(group.answers)}
    if not set(probs) >= set(placed) or any(not 0 <= probs[a] <= 1 for a in placed):
        raise DataError(
            "its `probs` must give each answer a number from 0 to 1",
            where=f"judgment {judgment.id}",
            fix="mend them in the file, or leave `labels.soft` out",
        )
    found = []
    for a, b in combinations(placed, 2):
        if group.answers[place[a]].text == group.answers[place[b]].text or not probs[a] + probs[b]:
            continue
        prob = probs[a] / (probs[a] + probs[b])
        if prob == 0.5 and labels.ties == "drop":
            continue
        found.append((place[a], place[b], prob) if prob >= 0.5 else (place[b], place[a], 1 - prob))
    return found


def _weights(labels: Labels, raters: Sequence[Rater]) -> dict[str, float]:
    """Weight by rater id: the rater's own, else that of his kind."""
    if not labels.weights:
        return {}
    known = {rater.id for rater in raters} | {KIND + rater.kind for rater in raters}
    if unknown := [name for name in labels.weights if name not in known]:
        kinds = ", ".join(sorted({KIND + rater.kind for rater in raters}))
        raise ConfigError(
            f"`{unknown[0]}` is no rater of these judgments",
            where="labels.weights",
            fix=f"a rater's id, or {kinds or 'nothing: there are no raters'}",
        )
    found = {}
    for rater in raters:
        for name in (rater.id, KIND + rater.kind):
            if name in labels.weights:
                found[rater.id] = labels.weights[name]
                break
    return found
