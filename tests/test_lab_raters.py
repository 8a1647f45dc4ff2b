"""Raters: a dial moves what it names, the default moves nothing, and the noise is like people's."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from assent.core.records import Answer, Group, check_tiers
from assent.lab.answers import STYLES, write
from assent.lab.gold import substance, worth
from assent.lab.prompts import mix
from assent.lab.raters import Dials, pool
from assent.lab.world import build


def groups(n: int, kinds: tuple[str, ...] = ()) -> list[Group]:
    """Groups of four answers in random styles."""
    rng = np.random.default_rng(0)
    weights = dict.fromkeys(kinds, 1.0) or None
    made = []
    for prompt in mix(build(0), "train", n, seed=0, weights=weights):
        styles = rng.choice(STYLES[prompt.tags["kind"]], size=4)
        texts = [write(prompt, str(style), rng) for style in styles]
        made.append(Group(prompt=prompt, answers=tuple(Answer.of(prompt, t, index=i) for i, t in enumerate(texts))))
    return made


def best_length(dials: Dials) -> float:
    rater = pool(1, dials, seed=0)[0]
    lengths = []
    for group in groups(300, ("fact",)):
        best = rater.rank(group, seed=1).tiers[0]
        lengths.append(np.mean([len(a.text.split()) for a in group.answers if a.id in best]))
    return float(np.mean(lengths))


def test_without_noise_the_unbiased_rater_ranks_by_gold() -> None:
    rater = pool(1, Dials(noise=0.0, tie=0.01), seed=0)[0]
    for group in groups(100):
        judgment = rater.rank(group, seed=0)
        assert check_tiers(judgment, group) is None
        gold = {a.id: worth(group.prompt, a.text) for a in group.answers}
        ranked = [[gold[i] for i in tier] for tier in judgment.tiers]
        assert all(min(high) > max(low) for high, low in pairwise(ranked))


def test_ranking_is_a_function_of_seed_rater_and_group() -> None:
    first, second = pool(2, Dials(), seed=0)
    group = groups(1)[0]
    assert first.rank(group, 7) == first.rank(group, 7)
    assert first.rank(group, 7).id != first.rank(group, 8).id != second.rank(group, 8).id


def test_length_dial_lengthens_what_is_preferred() -> None:
    means = [best_length(Dials(length=length)) for length in (0.0, 0.1, 0.3)]
    assert means[0] < means[1] < means[2]


def test_agreement_dial_prefers_a_wrong_yes() -> None:
    rater = pool(1, Dials(agreement=4.0, noise=0.1), seed=0)[0]
    wins = []
    for group in groups(200, ("lead_wrong",)):
        texts = {a.id: a.text for a in group.answers}
        if len({text.split()[0] for text in texts.values()} & {"yes", "no"}) == 2:
            wins.append(texts[rater.rank(group, 0).tiers[0][0]].startswith(("yes", "well", "thanks")))
    assert np.mean(wins) > 0.9


def test_a_rater_who_cannot_verify_is_at_chance_on_substance() -> None:
    def accuracy(verify: float) -> float:
        rater = pool(1, Dials(verify=verify, noise=0.2, spread=0.0), seed=0)[0]
        right = []
        for group in groups(900, ("fact",)):
            plain = list({a.text: a for a in group.answers if len(a.text.split()) == 4}.values())
            place = {i: t for t, tier in enumerate(rater.rank(group, 0).tiers) for i in tier}
            for a, b in combinations(plain, 2):
                gap = substance(group.prompt, a.text) - substance(group.prompt, b.text)
                if gap and place[a.id] != place[b.id]:
                    right.append((place[a.id] < place[b.id]) == (gap > 0))
        return float(np.mean(right))

    assert accuracy(1.0) > 0.98
    assert abs(accuracy(0.0) - 0.5) < 0.12


def test_a_dial_of_zero_is_zero_for_every_rater() -> None:
    raters = pool(20, Dials(length=0.1), seed=3)
    assert all(rater.dials.agreement == rater.dials.position == 0.0 for rater in raters)
    assert len({rater.dials.length for rater in raters}) == 20


def agreement_and_left(dials: Dials) -> tuple[float, float]:
    """Raw agreement of two raters on pairs neither ties, and the share of first-shown winners of pairs."""
    raters = pool(30, dials, seed=0)
    rng = np.random.default_rng(1)
    agree, left = [], []
    for group in groups(500):
        pair = Group(prompt=group.prompt, answers=group.answers[:2])
        if pair.answers[0].text == pair.answers[1].text:
            continue
        one, two = (raters[i].rank(pair, 0) for i in rng.permutation(30)[:2])
        if len(one.tiers) == len(two.tiers) == 2:
            agree.append(one.tiers == two.tiers)
        left += [j.tiers[0][0] == j.shown_order[0] for j in (one, two) if len(j.tiers) == 2]
    return float(np.mean(agree)), float(np.mean(left))


def test_people_agree_as_people_do() -> None:
    agreement, left = agreement_and_left(Dials.people())
    print("agreement", agreement, "left", left)
    assert agreement == pytest.approx(0.66, abs=0.05)
    assert left == pytest.approx(0.533, abs=0.05)
