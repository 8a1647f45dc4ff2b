"""The joint model of worth, skill and bias, fitted: raters with intervals, answers with soft labels.

The model itself stands in `rater_posterior`: raters with worth integrated out, then worth given the raters.

Soft labels of a group of answers are probabilities that sum to 1, of which any two answers i, j have
p_i / (p_i + p_j) = P(i over j, no tie), the way `core.records.Judgment.probs` is read (Luce 1959):

    as given    mean over the group's judgments of softmax(a_r theta + b_r side + c_r z(log length))
    debiased    softmax(theta): b and c are 0, and the rater is the typical one, a = 1

Shapes: N choices, A answers, R raters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from assent.core.errors import DataError
from assent.core.records import Group, Judgment
from assent.core.seeds import generator
from assent.stats.bootstrap import LEVEL, Interval
from assent.stats.choices import Choices, latest
from assent.stats.rater_posterior import FAMILIES, RaterPosterior, Scales, State, worth

Floats = npt.NDArray[np.float64]

MOST = 5.0
"""Upper bound of a fitted standard deviation."""
SAMPLE = 50_000
"""Choices, in whole groups, on which standard deviations are fitted; the mode is then fitted on all."""
ROUNDS = 50


@dataclass(frozen=True)
class RaterModel:
    """A fitted model. Dictionaries are by rater; intervals are None where they were not asked for."""

    data: Choices
    state: State
    worth_A: Floats
    """Worth of each answer, mean 0 within its group, in log-odds of a typical rater."""
    scales: Scales
    covariance_QQ: Floats | None

    @property
    def variances(self) -> Floats:
        """Posterior variance of skill, side, length and tie of each rater [4, R]."""
        return np.asarray(np.diag(_needed(self.covariance_QQ))[:-4].reshape(4, -1))

    def rater(self, name: str) -> dict[str, Interval]:
        """Skill, side, length and tie of a rater, `n` his choices. Needs a fit with `intervals`."""
        if name not in self.data.raters:
            raise DataError(f"rater {name} is not in this model", fix="fit it on judgments with him")
        place = self.data.raters.index(name)
        n = int((self.data.rater_N == place).sum())
        found = zip(self.state.raters_4R[:, place], self.variances[:, place], strict=True)
        return {family: _interval(*pair, n) for family, pair in zip(FAMILIES, found, strict=True)}

    @property
    def pool(self) -> dict[str, Interval]:
        """Means of side, length and tie over the raters; that of skill is 1 by definition."""
        n, variance_3 = len(self.data.raters), np.diag(_needed(self.covariance_QQ))[-4:-1]
        found = zip(self.state.means_3, variance_3, strict=True)
        return {family: _interval(*pair, n) for family, pair in zip(FAMILIES[1:], found, strict=True)}

    def row_chances(self, *, debiased: bool) -> Floats:
        """P(first over second, no tie) of each choice [N]: as its rater saw it, or without side and length.

        Both keep the rater's own skill.
        """
        a_N, b_N, c_N, _ = self.state.raters_4R[:, self.data.rater_N]
        worth_N = self.worth_A[self.data.first_N] - self.worth_A[self.data.second_N]
        bias_N = b_N * self.data.side_N + c_N * self.data.longer
        return _sigmoid(a_N * worth_N + (0.0 if debiased else 1.0) * bias_N)

    def labels(self, judgments: Iterable[Judgment], groups: Mapping[str, Group], *, debiased: bool) -> Labels:
        """Soft labels by group id of every group that was judged and fitted.

        Raises DataError for a rater that the model does not know, where his biases are asked for.
        """
        worth = dict(zip(self.data.answers, self.worth_A, strict=True))
        length = dict(zip(self.data.answers, self.data.length_A, strict=True))
        who = {name: self.state.raters_4R[:, r] for r, name in enumerate(self.data.raters)}
        seen: dict[str, list[Floats]] = {}
        for judgment in latest(judgments):
            names = [answer.id for answer in groups[judgment.group].answers]
            if not set(names) <= worth.keys():
                continue
            value_K = np.array([worth[name] for name in names])
            if not debiased:
                if judgment.rater not in who:
                    raise DataError(f"rater {judgment.rater} is not in this model", fix="fit it on all judgments")
                a, b, c, _ = who[judgment.rater]
                place = {name: p / max(len(names) - 1, 1) for p, name in enumerate(judgment.shown_order)}
                first_K = -np.array([place.get(name, 0.0) for name in names])
                value_K = a * value_K + b * first_K + c * np.array([length[name] for name in names])
            seen.setdefault(judgment.group, []).append(_softmax(value_K))
        return {
            group: dict(zip([a.id for a in groups[group].answers], map(float, np.mean(p, axis=0)), strict=True))
            for group, p in seen.items()
        }


Labels = dict[str, dict[str, float]]
"""Group id -> answer id -> probability."""


def with_probs(judgments: Iterable[Judgment], labels: Labels) -> list[Judgment]:
    """The judgments with the soft labels of their groups as `probs`; those of other groups as they are."""
    return [j.model_copy(update={"probs": labels[j.group]}) if j.group in labels else j for j in judgments]


def fit(data: Choices, scales: Scales | None = None, *, intervals: bool = True, seed: int = 0) -> RaterModel:
    """Fit the model. `scales` None: they are fitted, on at most `SAMPLE` choices drawn by group with `seed`.

    `intervals` False leaves out the Laplace approximation on all choices, whose cost grows with (4 R)^3.
    """
    start = None
    if scales is None:
        scales, start = fitted_scales(_sample(data, seed))
    posterior = RaterPosterior(data)
    if not intervals:
        state = posterior.mode(scales, start)
        return RaterModel(data, state, worth(data, state), scales, None)
    state, inverse_QQ = posterior.settled(scales, start)
    covariance_QQ = posterior.covariance(state, inverse_QQ)
    return RaterModel(data, state, worth(data, state), scales, covariance_QQ)


def fitted_scales(data: Choices, scales: Scales | None = None) -> tuple[Scales, State]:
    """Standard deviations between raters, and the mode that goes with them.

    s^2 = sum of squares about the mean / effective number of raters (MacKay 1992, eq. 32), until nothing moves. One
    rater more, who lies where `scales` say, stands for the prior: few raters can say neither that they are all alike
    nor that they are worlds apart. A few hundred choices a rater say little about skill: its s is fitted upwards only.

    Raises DataError where it goes on moving.
    """
    start = scales = scales or Scales()
    posterior = RaterPosterior(data)
    state, _ = posterior.settled(scales)
    for _ in range(ROUNDS):
        try:
            state, inverse_QQ, _ = posterior.newton(state, scales)
        except DataError:  # the spreads moved far: the old mode is not near the new one
            state, inverse_QQ = posterior.settled(scales, state)
        found = _updated(state, scales, start, posterior.covariance(state, inverse_QQ))
        if np.abs(np.log(found.vector / scales.vector)).max() < 0.03:
            return found, state
        # Halfway: the whole step can swing to and fro about its fixed point.
        scales = Scales(*map(float, np.sqrt(scales.vector * found.vector)))
    raise DataError(f"the spread between raters does not settle in {ROUNDS} rounds", fix="give scales")


def _updated(state: State, scales: Scales, start: Scales, covariance_QQ: Floats) -> Scales:
    variance_4R = np.diag(covariance_QQ)[:-4].reshape(4, -1)
    centre_4 = np.concatenate([[1.0], state.means_3])
    square_4 = ((state.raters_4R - centre_4[:, None]) ** 2).sum(axis=1) + start.vector**2
    known_4 = (1 - variance_4R / scales.vector[:, None] ** 2).clip(0).sum(axis=1) + 1
    found = Scales(*map(float, np.sqrt(square_4 / known_4).clip(max=MOST)))
    return replace(found, skill=max(found.skill, start.skill))


def _sample(data: Choices, seed: int) -> Choices:
    """Whole groups, drawn at random, of about `SAMPLE` choices; answers of other groups are left out."""
    if len(data.first_N) <= SAMPLE:
        return data
    groups, number_A = np.unique(data.group_A, return_inverse=True)
    order = generator(seed, "rater-scales").permutation(len(groups))
    count_G = np.bincount(number_A[data.first_N], minlength=len(groups))
    taken = order[: int(np.searchsorted(np.cumsum(count_G[order]), SAMPLE)) + 1]
    kept_A = np.isin(number_A, taken)
    place_A = np.cumsum(kept_A) - 1
    found = data.rows(kept_A[data.first_N])
    return replace(
        found,
        answers=tuple(name for name, keep in zip(data.answers, kept_A, strict=True) if keep),
        group_A=data.group_A[kept_A],
        length_A=data.length_A[kept_A],
        first_N=place_A[found.first_N],
        second_N=place_A[found.second_N],
    )


def _interval(estimate: float, variance: float, n: int) -> Interval:
    half = float(norm.ppf((1 + LEVEL) / 2) * np.sqrt(variance))
    return Interval(float(estimate), float(estimate) - half, float(estimate) + half, n=n, rows=n)


def _needed(covariance_QQ: Floats | None) -> Floats:
    if covariance_QQ is None:
        raise ValueError("this model was fitted without intervals")
    return covariance_QQ


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -value)))


def _softmax(value_K: Floats) -> Floats:
    weight_K = np.exp(value_K - value_K.max())
    return np.asarray(weight_K / weight_K.sum())
