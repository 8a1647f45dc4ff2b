"""Monitors: planning numbers, intervals of textbooks, planted raters flagged, little data never."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from assent.core.errors import DataError
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.stats.monitors import (
    LEAST,
    Monitor,
    band,
    choices_needed,
    gold_share,
    median_interval,
    monitors,
    power,
    share_interval,
    slope_interval,
)


def test_planning_numbers() -> None:
    assert (choices_needed(0.6), choices_needed(0.55)) == (194, 783)
    assert choices_needed(0.4) == 194
    assert LEAST["left"] == choices_needed(0.6)
    with pytest.raises(DataError):
        choices_needed(0.5)


@pytest.mark.parametrize(("share", "n"), [(0.6, 194), (0.55, 783)])
def test_the_exact_test_has_about_that_power(share: float, n: int) -> None:
    """By enumeration: every outcome of n choices that the exact test calls significant (a little less than .8)."""
    significant = [k for k in range(n + 1) if binomtest(k, n).pvalue <= 0.05]
    chance = sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in significant)
    assert power(n, share) == pytest.approx(chance)
    assert 0.75 < chance < 0.81
    assert power(n // 2, share) < 0.6


def test_bands_of_alpha() -> None:
    names = [band(alpha) for alpha in (-0.1, 0.199, 0.2, 0.349, 0.35, 0.549, 0.55)]
    assert names == ["guideline problem"] * 2 + ["typical"] * 2 + ["good"] * 2 + ["very good"]


def test_wilson_is_scipys() -> None:
    for hits, n in ((0, 10), (7, 20), (20, 20)):
        found, other = share_interval(hits, n), binomtest(hits, n).proportion_ci(method="wilson")
        assert found is not None
        assert (found.low, found.high) == pytest.approx((other.low, other.high))
    assert share_interval(0, 0) is None


def test_slope_by_hand_and_unbounded() -> None:
    # Longer by 1 wins 3 of 4: log 3; information 4 x 3/4 x 1/4.
    found = slope_interval(np.ones(4), np.array([True, True, True, False]))
    assert found is not None and found.estimate == pytest.approx(math.log(3))
    assert found.high - found.estimate == pytest.approx(1.959964 / math.sqrt(0.75), rel=1e-5)
    turned = slope_interval(-np.ones(4), np.array([False, False, False, True]))
    assert turned is not None and turned.estimate == pytest.approx(found.estimate)
    assert slope_interval(np.ones(4), np.ones(4, dtype=bool)) is None
    assert slope_interval(np.zeros(4), np.ones(4, dtype=bool)) is None
    halved = slope_interval(np.ones(4), np.array([True, True, True, False]), np.full(4, 0.5))
    assert halved is not None and halved.n == 2
    assert halved.high - halved.estimate == pytest.approx((found.high - found.estimate) * math.sqrt(2))


def test_median_interval_holds_as_often_as_it_says() -> None:
    assert median_interval([1.0] * 5) is None
    six = median_interval([1, 2, 3, 4, 5, 6])
    assert six is not None and (six.estimate, six.low, six.high) == (3.5, 1, 6)
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        found = median_interval(list(rng.exponential(size=40)))
        assert found is not None
        inside += found.low < math.log(2) < found.high
    assert 0.94 < inside / 2000 < 0.985


def test_gold_marks_pairs() -> None:
    right = (("a",), ("b", "c"))
    assert gold_share(Judgment(id="1", group="g", rater="r", tiers=(("a",), ("b",), ("c",))), right) == 1
    assert gold_share(Judgment(id="1", group="g", rater="r", tiers=(("b",), ("a", "c"))), right) == 0.25
    assert gold_share(Judgment(id="1", group="g", rater="r", outcome="both_bad"), right) == 0.5
    assert gold_share(Judgment(id="1", group="g", rater="r", outcome="both_bad"), (("a", "b"),)) is None


def project(count: int, seed: int = 0) -> tuple[list[Judgment], dict[str, Group]]:
    """Raters: a, b, c honest (right 80 %), `left` picks what stands left, `long` the longer, `fast` guesses at once."""
    rng, judgments, groups = np.random.default_rng(seed), [], {}
    for g in range(count):
        prompt = Prompt.of(f"q{g}")
        lengths = rng.choice(np.arange(20, 200), 2, replace=False)
        group = Group(
            prompt=prompt,
            answers=tuple(Answer.of(prompt, "xy"[k] * int(lengths[k]), index=k) for k in range(2)),
        )
        groups[group.id] = group
        ids = [answer.id for answer in group.answers]
        for rater in ("a", "b", "c", "left", "long", "fast"):
            shown = [ids[int(k)] for k in rng.permutation(2)]
            best = ids[0] if rng.random() < 0.8 else ids[1]
            best = {"left": shown[0], "long": ids[int(lengths[1] > lengths[0])]}.get(rater, best)
            if rater == "long" and rng.random() < 0.1:
                best = next(name for name in ids if name != best)
            if rater == "fast":
                best = ids[int(rng.integers(2))]
            judgments.append(
                Judgment(
                    id=f"{g}{rater}",
                    group=group.id,
                    rater=rater,
                    tiers=((best,), tuple(name for name in ids if name != best)),
                    shown_order=tuple(shown),
                    times={"visible_ms": 900.0 if rater == "fast" else float(rng.uniform(8000, 20000))},
                )
            )
    return judgments, groups


def by_name(found: list[Monitor]) -> dict[str, Monitor]:
    return {monitor.name: monitor for monitor in found}


def test_planted_raters_are_flagged_for_what_they_do() -> None:
    judgments, groups = project(220)
    key = {group: ((g.answers[0].id,), (g.answers[1].id,)) for group, g in list(groups.items())[:40]}
    found = {r: by_name(m) for r, m in monitors(judgments, groups, gold=key).items()}
    assert list(found["a"]) == list(LEAST)
    flags = {rater: {m.name for m in every.values() if m.flagged} for rater, every in found.items()}
    assert "left" in flags["left"] and "length" in flags["long"]
    assert {"seconds", "agreement", "gold"} <= flags["fast"]
    for honest in "abc":
        assert not flags[honest] & {"left", "gold", "agreement", "seconds"}
    left = found["left"]["left"]
    assert left.found is not None and (left.found.estimate, left.n) == (1.0, 220)
    assert found["a"]["agreement"].n == 180  # gold groups are left out
    assert found["a"]["gold"].n == 40


def test_nothing_is_flagged_under_the_minimum() -> None:
    judgments, groups = project(19)
    key = {group: ((g.answers[0].id,), (g.answers[1].id,)) for group, g in groups.items()}
    for every in monitors(judgments, groups, gold=key).values():
        assert not [monitor.name for monitor in every if monitor.flagged or monitor.enough]
        assert all(monitor.n <= 19 for monitor in every)


def test_flips_turn_the_left_share_and_nothing_else() -> None:
    judgments, groups = project(60)
    turned = [j.model_copy(update={"shown_order": j.shown_order[::-1]}) for j in judgments]
    here, there = monitors(judgments, groups), monitors(turned, groups)
    for rater, every in here.items():
        mine, other = by_name(every), by_name(there[rater])
        left, right = mine.pop("left").found, other.pop("left").found
        assert left is not None and right is not None
        assert left.estimate == pytest.approx(1 - right.estimate)
        assert mine == other


def test_repeats_count_what_was_said_again_and_corrections_do_not() -> None:
    judgments, groups = project(3)
    first = judgments[0]
    other = first.model_copy(update={"id": "again", "tiers": first.tiers[::-1]})
    third = first.model_copy(update={"id": "third", "tiers": first.tiers[::-1]})
    found = by_name(monitors([*judgments, other, third], groups)["a"])["repeats"]
    assert found.found is not None and (found.found.estimate, found.n) == (0.5, 2)
    corrected = other.model_copy(update={"supersedes": first.id})
    assert by_name(monitors([*judgments, corrected], groups)["a"])["repeats"].n == 0


def test_one_rater_alone_has_nobody_to_be_compared_with() -> None:
    judgments, groups = project(40)
    every = by_name(monitors([j for j in judgments if j.rater == "a"], groups)["a"])
    assert every["agreement"].n == 0 and every["agreement"].found is None
    assert every["ties"].expected is None and not any(monitor.flagged for monitor in every.values())
