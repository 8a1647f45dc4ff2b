"""The rater model: gradients, planted biases found again, flips and relabelling change nothing, soft labels."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from assent.core.errors import DataError
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.stats import rater_model, rater_posterior
from assent.stats.agreement import nominal_alpha, votes
from assent.stats.choices import Choices, choices, of_arrays
from assent.stats.rater_model import fit, with_probs
from assent.stats.rater_posterior import RaterPosterior, Scales, State, chances, worth_objective
from planted_raters import planted


def test_chances_by_hand() -> None:
    # exp(eta / 2) = 2, exp(t) = 1.5: 2 : 1.5 : .5 out of 4.
    lean, tie, log = chances(np.array([2 * math.log(2)]), np.array([math.log(1.5)]))
    assert (lean[0], tie[0], log[0]) == pytest.approx((0.375, 0.375, math.log(4)))
    lean, _, log = chances(np.array([1e6, -1e6]), np.zeros(2))
    assert lean.tolist() == [1, -1] and np.isfinite(log).all()


@pytest.mark.parametrize("answers", [2, 3])
def test_gradients_are_those_of_the_values(answers: int) -> None:
    data, _ = planted(np.random.default_rng(0), groups=5, raters=3, answers=answers, overlap=2)
    data = replace(data, weight_N=np.random.default_rng(1).uniform(0.2, 1.5, len(data.first_N)))
    posterior, scales = RaterPosterior(data), Scales(0.4, 0.2, 0.5, 0.9)
    point = State.start(data).vector + 0.5 * np.random.default_rng(2).normal(size=16)
    slow = approx_fprime(point, lambda x: posterior.objective(x, scales)[0], 1e-6)
    assert posterior.objective(point, scales)[1] == pytest.approx(slow, rel=1e-5, abs=1e-4)
    worth = np.random.default_rng(3).normal(size=len(data.answers))
    slow = approx_fprime(worth, lambda x: worth_objective(x, data, State.of(point))[0], 1e-6)
    assert worth_objective(worth, data, State.of(point))[1] == pytest.approx(slow, rel=1e-5, abs=1e-4)


def test_worth_is_integrated_out_as_a_fine_grid_does_it() -> None:
    data, _ = planted(np.random.default_rng(4), groups=1, raters=3, overlap=3)
    state = State(np.array([[1.0, 0.5, 1.4], [0.2, -0.3, 0.0], [0.1, 0.4, 0.2], [-0.5, 0.1, 0.3]]), np.zeros(3), 0.2)
    grid, total = np.linspace(-15, 15, 6001), 0.0
    for gap in grid:
        chance = math.exp(-(gap**2) / (4 * math.exp(0.4))) / math.sqrt(4 * math.pi * math.exp(0.4))
        for row in range(3):
            a, b, c, t = state.raters_4R[:, data.rater_N[row]]
            eta = a * gap + b * data.side_N[row] + c * data.longer[row]
            weights = {1.0: math.exp(eta / 2), 0.0: math.exp(t), -1.0: math.exp(-eta / 2)}
            chance *= weights[float(data.outcome_N[row])] / sum(weights.values())
        total += chance * (grid[1] - grid[0])
    assert RaterPosterior(data).slopes(state)[0] == pytest.approx(-math.log(total), abs=1e-4)


def test_the_covariance_is_the_inverse_of_the_curvature() -> None:
    """Few pairs with more parameters than pairs: nothing but the true Hessian will do."""
    data, _ = planted(np.random.default_rng(0), groups=4, raters=3, overlap=3)
    data = replace(data, weight_N=np.random.default_rng(1).uniform(0.2, 1.5, len(data.first_N)))
    posterior, scales = RaterPosterior(data), Scales(0.4, 0.2, 0.5, 0.9)
    at = posterior.mode(scales).vector
    steps = np.eye(16) * 1e-5
    slow = np.stack([posterior.objective(at + e, scales)[1] - posterior.objective(at - e, scales)[1] for e in steps])
    assert posterior.inverse(State.of(at), scales) == pytest.approx(np.linalg.inv(slow / 2e-5), abs=1e-6)


def covered(seeds: range) -> np.ndarray:
    """Share of raters' skill, side, length and tie inside their intervals [4]."""
    inside = []
    for seed in seeds:
        data, truth = planted(np.random.default_rng(seed))
        model = fit(data)
        truth.raters_4R[0] /= truth.raters_4R[0].mean()  # the unit of worth: skill is 1 on average
        off_4R = (model.state.raters_4R - truth.raters_4R) / np.sqrt(model.variances)
        inside.append((np.abs(off_4R) < 1.96).mean(axis=1))
    return np.mean(inside, axis=0)


def test_planted_biases_lie_in_their_intervals() -> None:
    """6 simulations of 20 raters: 120 intervals each, of which 95 % hold within 4 standard errors of that share."""
    share_4 = covered(range(6))
    assert (share_4 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 120)).all(), share_4


@pytest.mark.evidence
def test_planted_biases_lie_in_92_to_98_percent_of_their_intervals() -> None:
    """200 simulations of 20 raters with 90 choices each; minutes."""
    share_4 = covered(range(200))
    print("coverage of skill, side, length, tie:", share_4.round(4))
    assert ((share_4 >= 0.92) & (share_4 <= 0.98)).all(), share_4


@pytest.mark.evidence
def test_a_million_judgments() -> None:
    data, truth = planted(np.random.default_rng(0), raters=200, groups=333_334)
    began = time.perf_counter()
    model = fit(data, intervals=False)
    print(f"{len(data.first_N)} judgments, 200 raters: {time.perf_counter() - began:.0f} s")
    assert np.abs(model.state.raters_4R[1] - truth.raters_4R[1]).max() < 0.2


def flipped(data: Choices) -> Choices:
    return replace(data, side_N=-data.side_N)


def test_flipping_every_shown_order_turns_side_and_nothing_else() -> None:
    data, _ = planted(np.random.default_rng(5), groups=150, raters=8)
    here, there = fit(data, Scales()), fit(flipped(data), Scales())
    assert there.worth_A == pytest.approx(here.worth_A, abs=1e-6)
    sign = np.array([1.0, -1.0, 1.0, 1.0])[:, None]
    assert there.state.raters_4R == pytest.approx(sign * here.state.raters_4R, abs=1e-6)
    assert there.pool["length"].estimate == pytest.approx(here.pool["length"].estimate, abs=1e-6)


def test_naming_the_answers_the_other_way_round_changes_nothing() -> None:
    data, _ = planted(np.random.default_rng(6), groups=150, raters=8)
    turned = replace(data, first_N=data.second_N, second_N=data.first_N, outcome_N=-data.outcome_N, side_N=-data.side_N)
    here, there = fit(data, Scales()), fit(turned, Scales())
    assert there.worth_A == pytest.approx(here.worth_A, abs=1e-6)
    assert there.state.vector == pytest.approx(here.state.vector, abs=1e-6)


def test_a_rater_who_guesses_and_one_who_only_looks_left_are_told_from_the_rest() -> None:
    data, truth = planted(
        np.random.default_rng(7), groups=300, raters=6, overlap=6, spread=(0, 0, 0, 0), means=(1, 0, 0, -1), worth=2
    )
    rng = np.random.default_rng(8)
    guess, left = data.rater_N == 0, data.rater_N == 1
    outcome = data.outcome_N.copy()
    outcome[guess] = rng.choice([-1.0, 1.0], guess.sum())
    outcome[left] = data.side_N[left]
    model = fit(replace(data, outcome_N=outcome))
    assert model.rater("r000")["skill"].high < 0.6 < model.rater("r003")["skill"].low
    assert model.state.raters_4R[0].mean() == pytest.approx(1, abs=0.01)
    assert model.rater("r001")["side"].low > 0.8
    assert abs(model.rater("r003")["side"].estimate) < 0.3
    assert model.rater("r000")["side"].n == guess.sum()
    assert np.corrcoef(model.worth_A[::2] - model.worth_A[1::2], truth.worth_A[::2] - truth.worth_A[1::2])[0, 1] > 0.7


def test_without_ties_nobody_ties() -> None:
    data, _ = planted(np.random.default_rng(9), groups=100, raters=5, means=(1, 0, 0, -30))
    assert (data.outcome_N != 0).all()
    model = fit(data)
    tie = np.exp(model.state.raters_4R[3])
    assert (tie / (2 + tie) < 1 / len(data.first_N)).all()  # of answers alike: rarer than one in all there are
    assert np.isfinite(model.variances).all()


def test_a_share_of_ties_is_finite_without_ties_and_with_nothing_else() -> None:
    data, _ = planted(np.random.default_rng(9), groups=1, raters=3)
    for outcome, level in ((1.0, math.log(2 * 0.5 / 3.5)), (0.0, math.log(2 * 3.5 / 0.5))):
        assert replace(data, outcome_N=np.full(3, outcome)).tie_level == pytest.approx(level)


def separable() -> dict[str, Choices]:
    """Choices of 6 raters on 40 pairs, all judged by all, in which something never happens."""
    data, truth = planted(np.random.default_rng(10), groups=40, raters=6, overlap=6, means=(1, 0, 0, -1))
    alone = data.rows(data.rater_N == 0)
    right = np.sign(truth.worth_A[data.first_N] - truth.worth_A[data.second_N])
    half = np.where(data.rater_N < 3, data.side_N, right)
    votes = np.bincount(data.first_N // 2, data.outcome_N * (data.rater_N > 0))[data.first_N // 2]
    agrees = np.where(data.rater_N == 0, np.sign(votes), data.outcome_N)
    outcomes = {
        "unanimous": right,
        "the first always": np.ones(len(right)),
        "the left always": data.side_N,
        "the longer always": np.sign(data.longer),
        "ties only": 0 * right,
        "no ties": np.where(data.outcome_N == 0, 1.0, data.outcome_N),
        "half look left, half are right": half,
        "one follows the others": agrees,
        "one contradicts the others": np.where(data.rater_N == 0, -agrees, agrees),
        "one looks left": np.where(data.rater_N == 0, data.side_N, data.outcome_N),
        "one ties": np.where(data.rater_N == 0, 0.0, data.outcome_N),
    }
    found = {name: replace(data, outcome_N=outcome) for name, outcome in outcomes.items()}
    late = data.first_N >= 40
    return found | {
        "one rater": replace(alone, raters=("r000",)),
        "one rater who looks left": replace(alone, raters=("r000",), outcome_N=alone.side_N),
        "one choice": data.rows(np.arange(1)),
        "two parts": data.rows((data.rater_N < 3) != late),
        "no side is known": replace(data, side_N=0 * right),
        "lengths are equal": replace(data, length_A=0 * data.length_A),
    }


@pytest.mark.parametrize("name", separable())
def test_what_separates_gives_finite_values_of_the_size_of_log_odds(name: str) -> None:
    data = separable()[name]
    model = fit(data)
    slope = RaterPosterior(data).objective(model.state.vector, model.scales)[1]
    assert np.abs(slope).max() < 1e-8  # a maximum, and not where the search gave up
    assert np.abs(model.state.raters_4R).max() < 20 and np.abs(model.worth_A).max() < 10
    assert (model.variances > 0).all() and (model.variances < 12).all()
    for found in (model.rater("r000"), model.pool):
        assert all(np.isfinite([i.low, i.high]).all() and i.low < i.estimate < i.high for i in found.values())


def test_what_separates_is_put_down_to_what_it_is() -> None:
    fits = {name: fit(data) for name, data in separable().items() if "look" in name or "always" in name}
    left, longer = fits["the left always"], fits["the longer always"]
    assert left.pool["side"].low > 2 and abs(left.pool["length"].estimate) < 1
    assert longer.pool["length"].low > 2 and abs(longer.pool["side"].estimate) < 1
    always = fits["the first always"]
    assert np.abs([always.pool[family].estimate for family in ("side", "length")]).max() < 0.5
    gap = always.worth_A[::2] - always.worth_A[1::2]
    assert (gap > 1).all()
    half = fits["half look left, half are right"].state.raters_4R
    assert np.abs(half[0, :3]).max() < 0.3 and half[0, 3:].min() > 1.5
    assert half[1, :3].min() > 3 * np.abs(half[1, 3:]).max()


def relabelled(data: Choices, rng: np.random.Generator) -> tuple[Choices, np.ndarray, np.ndarray]:
    """Rows, groups of two answers and raters in another order; the new places of answers and of raters."""
    group, rater = rng.permutation(len(data.answers) // 2), rng.permutation(len(data.raters))
    place = 2 * group[np.arange(len(data.answers)) // 2] + np.arange(len(data.answers)) % 2
    turned = data.rows(rng.permutation(len(data.first_N)))
    turned = replace(
        turned, first_N=place[turned.first_N], second_N=place[turned.second_N], rater_N=rater[turned.rater_N]
    )
    return replace(turned, length_A=data.length_A[np.argsort(place)]), place, rater


@pytest.mark.parametrize("name", ["", "unanimous", "half look left, half are right", "no ties"])
def test_the_order_of_rows_answers_and_raters_changes_nothing(name: str) -> None:
    data = separable()[name] if name else planted(np.random.default_rng(11), groups=60, raters=8)[0]
    turned, answers, raters = relabelled(data, np.random.default_rng(12))
    here, there = fit(data), fit(turned)
    assert there.scales.vector == pytest.approx(here.scales.vector, abs=1e-6)
    assert there.state.raters_4R[:, raters] == pytest.approx(here.state.raters_4R, abs=1e-6)
    assert there.variances[:, raters] == pytest.approx(here.variances, abs=1e-6)
    assert there.worth_A[answers] == pytest.approx(here.worth_A, abs=1e-6)


def test_a_rater_without_judgments_changes_nobody_and_is_the_pool() -> None:
    data, _ = planted(np.random.default_rng(13), groups=60, raters=6)
    here, there = fit(data), fit(replace(data, raters=(*data.raters, "new")))
    assert there.state.raters_4R[:, :6] == pytest.approx(here.state.raters_4R, abs=1e-6)
    assert there.variances[:, :6] == pytest.approx(here.variances, abs=1e-6)
    assert there.worth_A == pytest.approx(here.worth_A, abs=1e-6)
    assert there.state.raters_4R[:, 6] == pytest.approx([1, *here.state.means_3], abs=1e-6)
    new = there.rater("new")
    assert new["skill"].n == 0
    assert new["skill"].high - 1 == pytest.approx(1.96 * here.scales.skill, rel=1e-3)
    assert new["side"].high - new["side"].low > there.pool["side"].high - there.pool["side"].low


@pytest.mark.parametrize("groups", [1, 3])
def test_few_large_groups_have_intervals_too(groups: int) -> None:
    """The sandwich over so few groups has negative variances; the plain inverse curvature has none."""
    data, _ = planted(np.random.default_rng(0), groups=groups, raters=3, answers=6)
    assert (fit(data, Scales()).variances > 0).all()


def test_what_does_not_converge_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = planted(np.random.default_rng(14), groups=10, raters=3)
    with monkeypatch.context() as patch:
        patch.setattr(rater_model, "ROUNDS", 0)
        with pytest.raises(DataError, match="does not settle in 0 rounds"):
            fit(data)
    monkeypatch.setattr(rater_posterior, "STEPS", 1)
    with pytest.raises(DataError, match="did not converge in 1 steps"):
        fit(data, Scales())


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = {"group_A": [0, 0, 1, 1], "length_A": [1, 2, 3, 4], "first_N": [0], "second_N": [1], "rater_N": [0]}
    good |= {"outcome_N": [1], "side_N": [1]}
    of_arrays(**good)  # type: ignore[arg-type]
    for wrong in ({"second_N": [2]}, {"outcome_N": [0.5]}, {"side_N": [2]}, {"group_A": [1, 1, 0, 0]}, {"rater_N": []}):
        with pytest.raises(DataError):
            of_arrays(**{**good, **wrong})  # type: ignore[arg-type]
    with pytest.raises(DataError):
        Scales(skill=0)


# From records


def project(
    groups: int = 60, raters: int = 5, answers: int = 2, seed: int = 0
) -> tuple[list[Judgment], dict[str, Group]]:
    """Every group judged by 3 raters who like the later letter of `a`, `b`, `c`, with noise and a pull to the left."""
    rng, judgments, known = np.random.default_rng(seed), [], {}
    for g in range(groups):
        prompt = Prompt.of(f"question {g}")
        texts = ["abc"[k] * int(rng.integers(5, 40)) for k in range(answers)]
        group = Group(prompt=prompt, answers=tuple(Answer.of(prompt, x, index=i) for i, x in enumerate(texts)))
        known[group.id] = group
        for rater in rng.permutation(raters)[:3]:
            order = rng.permutation(answers)
            score = {int(k): 1.2 * k + rng.gumbel() - 0.8 * place for place, k in enumerate(order)}
            ranked = sorted(score, key=lambda k: -score[k])
            ids = [answer.id for answer in group.answers]
            judgments.append(
                Judgment(
                    id=f"j{g}-{rater}",
                    group=group.id,
                    rater=f"r{rater}",
                    tiers=tuple((ids[k],) for k in ranked),
                    shown_order=tuple(ids[int(k)] for k in order),
                )
            )
    return judgments, known


def test_choices_of_records_by_hand() -> None:
    prompt = Prompt.of("q")
    group = Group(
        prompt=prompt,
        answers=tuple(Answer(id=name, text=text) for name, text in zip("abc", ["x", "yy", "x"], strict=True)),
    )
    one = Judgment(id="1", group=group.id, rater="r", tiers=(("b",), ("a", "c")), shown_order=("b", "c", "a"))
    bad = Judgment(id="2", group=group.id, rater="s", outcome="both_bad")
    skip = Judgment(id="3", group=group.id, rater="t", outcome="skip")
    data = choices([one, bad, skip], {group.id: group})
    rows = [
        (data.answers[i], data.answers[j], data.raters[r], float(o), float(s), float(w))
        for i, j, r, o, s, w in zip(
            data.first_N, data.second_N, data.rater_N, data.outcome_N, data.side_N, data.weight_N, strict=True
        )
    ]
    third = 2 / 3
    assert rows == [
        ("a", "b", "r", -1.0, -1.0, third),
        ("b", "c", "r", 1.0, 0.5, third),
        ("a", "b", "s", 0.0, 0.0, third),
        ("b", "c", "s", 0.0, 0.0, third),
    ]
    assert np.sqrt((data.longer**2).mean()) == pytest.approx(1)
    with pytest.raises(DataError, match="no choices"):
        choices([skip], {group.id: group})
    with pytest.raises(DataError, match="not given"):
        choices([one], {})


def test_alpha_and_scores_stay_when_every_shown_order_is_flipped() -> None:
    judgments, groups = project(answers=3)
    turned = [j.model_copy(update={"shown_order": j.shown_order[::-1]}) for j in judgments]
    here, there = (nominal_alpha(votes(found, groups), seed=0) for found in (judgments, turned))
    assert here == there
    model, other = fit(choices(judgments, groups)), fit(choices(turned, groups))
    assert other.worth_A == pytest.approx(model.worth_A, abs=1e-6)
    assert model.pool["side"].low > 0 > other.pool["side"].high


@pytest.mark.parametrize("answers", [2, 3])
def test_soft_labels_are_probabilities_of_the_pairs(answers: int) -> None:
    judgments, groups = project(answers=answers)
    model = fit(choices(judgments, groups))
    given = model.labels(judgments, groups, debiased=False)
    free = model.labels(judgments, groups, debiased=True)
    worth = dict(zip(model.data.answers, model.worth_A, strict=True))
    assert given.keys() == free.keys() == groups.keys()
    for group, probs in free.items():
        first, second = (answer.id for answer in groups[group].answers[:2])
        assert sum(probs.values()) == pytest.approx(1) == pytest.approx(sum(given[group].values()))
        expected = expit(worth[first] - worth[second])
        assert probs[first] / (probs[first] + probs[second]) == pytest.approx(expected)
    for judgment in with_probs(judgments, free):
        assert judgment.probs == free[judgment.group]
    assert with_probs(judgments, {}) == judgments
    stranger = judgments[0].model_copy(update={"rater": "nobody"})
    with pytest.raises(DataError, match="not in this model"):
        model.labels([stranger], groups, debiased=False)
    with pytest.raises(DataError, match="not in this model"):
        model.rater("nobody")


def test_a_label_of_one_judgment_is_the_chance_of_its_row() -> None:
    judgments, groups = project(answers=2)
    model = fit(choices(judgments, groups))
    alone = judgments[7]
    probs = model.labels([alone], groups, debiased=False)[alone.group]
    data = model.data
    who = data.raters.index(alone.rater)
    row = next(n for n in range(len(data.first_N)) if data.rater_N[n] == who and data.answers[data.first_N[n]] in probs)
    assert model.row_chances(debiased=False)[row] == pytest.approx(probs[data.answers[data.first_N[row]]])
    assert model.row_chances(debiased=True)[row] != pytest.approx(model.row_chances(debiased=False)[row])
