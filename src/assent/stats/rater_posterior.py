"""Posterior of raters' skill and bias with the answers' worth integrated out, and of worth given the raters.

    eta = a_r (theta_i - theta_j) + b_r side + c_r z(log length difference)
    P(i over j) : P(tie) : P(j over i) = exp(eta / 2) : exp(t_r) : exp(-eta / 2)          (Davidson 1970)

Raters: a_r ~ N(1, s_a), b_r ~ N(side, s_b), c_r ~ N(length, s_c), t_r ~ N(tie, s_t); answers: theta ~ N(0, s_theta).
log s_theta has the prior that a Rayleigh(1) s_theta gives it: s_theta^2 / 2 - log s_theta, least at 1. Raters who never
differ say only that worth is spread widely; the prior's square then keeps s_theta within a few log-odds.

There are as many answers as choices, or nearly: the joint mode of raters and answers shrinks worth to nothing and
raters' biases with it (Neyman & Scott 1948). So raters are fitted with worth integrated out. The difference of a
pair's two answers is N(0, 2 s_theta^2), one dimension, done by Gauss-Hermite quadrature. Pairs out of one group of
more than two answers are taken as if they were independent (composite likelihood; Varin et al. 2011) and the
covariance put right by the sandwich over groups.

Shapes: N choices, P pairs, H quadrature nodes, A answers, G groups, R raters, Q = 4 R + 4 parameters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse.linalg import spsolve
from scipy.special import logsumexp

from assent.core.errors import DataError
from assent.stats.choices import Choices

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FAMILIES = ("skill", "side", "length", "tie")
MEAN_SCALE = 3.0
"""Standard deviation of the weak prior on means of side and length (about 0) and tie (about its share)."""
MEAN_SKILL = 0.01
"""Standard deviation about 1 of the mean skill of the raters: as good as fixed, which sets the unit of worth."""
SETTLED = 1e-6
"""A Newton step of this many standard deviations is the last: what is left is its square."""
STEPS = 30
FAR = 600.0
"""|eta| beyond which exp would overflow; a chance is 0 or 1 long before."""


@dataclass(frozen=True)
class Scales:
    """Standard deviations between raters of skill, side, length and tie."""

    skill: float = 0.3
    side: float = 0.3
    length: float = 0.3
    tie: float = 0.7

    def __post_init__(self) -> None:
        if any(not 0 < value < np.inf for value in asdict(self).values()):
            raise DataError("a prior's standard deviation must be a positive number")

    @property
    def vector(self) -> Floats:
        """In the order of `FAMILIES` [4]."""
        return np.array([getattr(self, name) for name in FAMILIES])


@dataclass(frozen=True)
class State:
    """Parameters: raters_4R in the order of `FAMILIES`, means_3 of side, length and tie, log s_theta."""

    raters_4R: Floats
    means_3: Floats
    log_worth: float

    @property
    def vector(self) -> Floats:
        """One vector [Q]."""
        return np.concatenate([self.raters_4R.ravel(), self.means_3, [self.log_worth]])

    @classmethod
    def of(cls, vector_Q: Floats) -> State:
        """The state in a vector."""
        return cls(vector_Q[:-4].reshape(4, -1), vector_Q[-4:-1], float(vector_Q[-1]))

    @classmethod
    def start(cls, data: Choices) -> State:
        """Everyone typical, no bias, the pool's tie rate."""
        raters_4R = np.zeros((4, len(data.raters)))
        raters_4R[0], raters_4R[3] = 1.0, data.tie_level
        return cls(raters_4R, np.array([0.0, 0.0, data.tie_level]), 0.0)


def chances(eta_N: Floats, t_N: Floats) -> tuple[Floats, Floats, Floats]:
    """(P(first) - P(second), P(tie), log of the sum) of Davidson's model [N each]."""
    up_N = np.exp(np.clip(eta_N, -FAR, FAR) / 2)
    down_N, tie_N = 1 / up_N, np.exp(t_N)
    sum_N = up_N + down_N + tie_N
    return (up_N - down_N) / sum_N, tie_N / sum_N, np.log(sum_N)


class RaterPosterior:
    """Negative log posterior of the raters' parameters; choices are sorted by pair once."""

    def __init__(self, data: Choices) -> None:
        key_N = data.first_N * len(data.answers) + data.second_N
        order_N = np.argsort(key_N, kind="stable")
        self.data, key_N = data.rows(order_N), key_N[order_N]
        self.start_P = np.flatnonzero(np.r_[True, np.diff(key_N) > 0])
        self.size_P = np.diff(np.r_[self.start_P, len(key_N)])
        self.pair_N = np.repeat(np.arange(len(self.size_P)), self.size_P)
        # Many votes on a pair leave little doubt about its worth: a narrow peak needs close nodes.
        # Even numbers: a node at 0 would weigh a third, and where worth is far apart find ties of worth that are none.
        node_H, mass_H = np.polynomial.hermite_e.hermegauss(16 if self.size_P.max() <= 12 else 46)
        self.gap_H, self.log_mass_H = np.sqrt(2) * node_H, np.log(mass_H / mass_H.sum())
        self.tied_N = (self.data.outcome_N == 0).astype(float)
        judged_R = np.bincount(self.data.rater_N, minlength=len(self.data.raters)) > 0
        self.share_R = judged_R / judged_R.sum()
        self.size = 4 * len(self.data.raters) + 4

    def nodes(self, state: State) -> tuple[Floats, Floats, list[Floats], list[Floats]]:
        """Log likelihood [P], posterior mass [H, P] of each node, P(first) - P(second) and P(tie) there [H][N]."""
        data, worth = self.data, float(np.exp(state.log_worth))
        a_N, b_N, c_N, t_N = state.raters_4R[:, data.rater_N]
        bias_N = b_N * data.side_N + c_N * data.longer
        said_N, lean_HN, tie_HN = self.tied_N * t_N, [], []
        total_HP = np.empty((len(self.gap_H), len(self.start_P)))
        for gap, row_P in zip(self.gap_H, total_HP, strict=True):
            eta_N = a_N * (worth * gap) + bias_N
            lean_N, tie_N, log_N = chances(eta_N, t_N)
            row_P[:] = np.add.reduceat(data.weight_N * (data.outcome_N * eta_N / 2 + said_N - log_N), self.start_P)
            lean_HN.append(lean_N)
            tie_HN.append(tie_N)
        total_HP += self.log_mass_H[:, None]
        log_P = logsumexp(total_HP, axis=0)
        return log_P, np.exp(total_HP - log_P), lean_HN, tie_HN

    def slopes(self, state: State) -> tuple[float, Floats]:
        """Negative log likelihood, and its slope in (skill, side, length, tie, log s_theta) of each choice [5, N]."""
        data, worth = self.data, float(np.exp(state.log_worth))
        log_P, share_HP, lean_HN, tie_HN = self.nodes(state)
        a_N = state.raters_4R[0, data.rater_N]
        eta_slope_N, gap_slope_N, t_slope_N = np.zeros((3, len(a_N)))
        for gap, share_P, lean_N, tie_N in zip(self.gap_H, share_HP, lean_HN, tie_HN, strict=True):
            share_N = np.repeat(share_P, self.size_P)
            pull_N = share_N * (lean_N - data.outcome_N)
            eta_slope_N += pull_N
            gap_slope_N += gap * pull_N
            t_slope_N += share_N * (tie_N - self.tied_N)
        half_N, worth_N = data.weight_N / 2, data.weight_N * worth / 2 * gap_slope_N
        rows = (worth_N, half_N * eta_slope_N * data.side_N, half_N * eta_slope_N * data.longer)
        return -float(log_P.sum()), np.stack([*rows, data.weight_N * t_slope_N, a_N * worth_N])

    def objective(self, vector_Q: Floats, scales: Scales) -> tuple[float, Floats]:
        """Negative log posterior up to a constant, and its gradient [Q]."""
        state, raters = State.of(vector_Q), len(self.data.raters)
        loss, slope_5N = self.slopes(state)
        sums_4R = np.stack([np.bincount(self.data.rater_N, row_N, raters) for row_N in slope_5N[:4]])
        gradient_Q = np.concatenate([sums_4R.ravel(), np.zeros(3), [slope_5N[4].sum()]])
        away_Q = vector_Q - self._centre(raters)
        pull_Q = precision(raters, scales) @ away_Q
        pull_Q[:raters] += self.share_R * (self.share_R @ away_Q[:raters]) / MEAN_SKILL**2
        gradient_Q[-1] += np.exp(2 * state.log_worth) - 1
        spread = float(np.exp(2 * state.log_worth) / 2 - state.log_worth)
        return loss + spread + float(away_Q @ pull_Q) / 2, gradient_Q + pull_Q

    def _centre(self, raters: int) -> Floats:
        """Prior mean: skill 1; the others at the means, which are at (0, 0, share of ties)."""
        tie = self.data.tie_level
        return np.concatenate([np.repeat([1.0, 0.0, 0.0, tie], raters), [0.0, 0.0, tie, 0.0]])

    def mode(self, scales: Scales, start: State | None = None, tolerance: float = 1e-5) -> State:
        """The maximum, by L-BFGS in parameters scaled to a like curvature. Raises DataError where it is not found.

        `tolerance`: largest slope left in scaled parameters, a root of a choice.
        """
        raters = len(self.data.raters)
        count_R = np.bincount(self.data.rater_N, self.data.weight_N, raters)
        spread_4R = count_R / 5 + scales.vector[:, None] ** -2
        means_3 = raters * scales.vector[1:] ** -2
        unit_Q = np.concatenate([spread_4R.ravel(), means_3, [count_R.sum() / 5]]) ** -0.5

        def scaled(y_Q: Floats) -> tuple[float, Floats]:
            value, gradient_Q = self.objective(y_Q * unit_Q, scales)
            return value, gradient_Q * unit_Q

        slope = tolerance * float(count_R.sum()) ** 0.5
        options = {"maxiter": 500, "maxcor": 20, "ftol": 1e-12, "gtol": slope}
        begin_Q = (start or State.start(self.data)).vector / unit_Q
        found = minimize(scaled, begin_Q, jac=True, method="L-BFGS-B", options=options)
        if not (np.isfinite(found.fun) and np.abs(found.jac).max() < max(100 * slope, 1e-3)):
            raise DataError(f"the rater model did not converge: {found.message}", fix="give narrower scales")
        return State.of(found.x * unit_Q)

    def settled(self, scales: Scales, start: State | None = None) -> tuple[State, Floats]:
        """The maximum to rounding, by Newton's method from where L-BFGS ends, and the inverse of the curvature [Q, Q].

        Raises DataError where there is none.
        """
        state = self.mode(scales, start)
        for _ in range(STEPS):
            state, inverse_QQ, length = self.newton(state, scales)
            if length < SETTLED:
                return state, inverse_QQ
        raise DataError(f"the rater model did not converge in {STEPS} steps", fix="give narrower scales")

    def newton(self, state: State, scales: Scales) -> tuple[State, Floats, float]:
        """One step: where it leads, the inverse curvature [Q, Q] where it began, its length in standard deviations.

        A long step is damped (Nesterov & Nemirovskii 1994).
        """
        inverse_QQ, gradient_Q = self.inverse(state, scales), self.objective(state.vector, scales)[1]
        step_Q = inverse_QQ @ gradient_Q
        length = float(np.sqrt(gradient_Q @ step_Q))
        return State.of(state.vector - step_Q / (1 + length if length > 0.25 else 1)), inverse_QQ, length

    def inverse(self, state: State, scales: Scales) -> Floats:
        """Inverse of the curvature of the objective [Q, Q]. Raises DataError away from a maximum."""
        raters = len(self.data.raters)
        curve_QQ = self.information(state) + precision(raters, scales).toarray()
        curve_QQ[:raters, :raters] += np.outer(self.share_R, self.share_R) / MEAN_SKILL**2
        curve_QQ[-1, -1] += 2 * np.exp(2 * state.log_worth)
        try:
            return np.asarray(cho_solve(cho_factor(curve_QQ), np.eye(len(curve_QQ))), dtype=np.float64)
        except LinAlgError:
            raise DataError("the rater model has no clear maximum", fix="give narrower scales") from None

    def covariance(self, state: State, inverse_QQ: Floats) -> Floats:
        """Laplace covariance [Q, Q]: the inverse curvature at the mode; in larger groups the sandwich over groups."""
        (_, slope_5N), pair_N = self.slopes(state), self.pair_N
        group_N = np.unique(self.data.group_A[self.data.first_N], return_inverse=True)[1]
        if group_N[-1] == pair_N[-1]:
            return inverse_QQ
        extra_QQ = _square(self._table(slope_5N, group_N)) - _square(self._table(slope_5N, pair_N))
        found_QQ = inverse_QQ + inverse_QQ @ extra_QQ @ inverse_QQ
        # A few groups cannot tell how their pairs hang together.
        return np.asarray(found_QQ if np.linalg.eigvalsh(found_QQ)[0] > 0 else inverse_QQ, dtype=np.float64)

    def information(self, state: State) -> Floats:
        """Observed information [Q, Q] by Louis (1982): what the choices would tell were worth known, on average over
        the posterior of worth, less the variance there of their slopes."""
        data, pair_N, w_N, a_N = self.data, self.pair_N, self.data.weight_N, state.raters_4R[0, self.data.rater_N]
        total_QQ = _square(self._table(self.slopes(state)[1], pair_N))
        curve_3N, mixed_2N, tied_N, bent_N = np.split(np.zeros((7, len(pair_N))), [3, 5, 6])
        _, share_HP, lean_HN, tie_HN = self.nodes(state)
        for gap, share_P, lean_N, tie_N in zip(self.gap_H, share_HP, lean_HN, tie_HN, strict=True):
            share_N, worth = share_P[pair_N], float(np.exp(state.log_worth)) * gap
            mean_N, pull_N = share_N * w_N, (lean_N - data.outcome_N) / 2
            power_3 = worth ** np.arange(3)[:, None]
            curve_3N += power_3 * (mean_N * (1 - tie_N - lean_N**2) / 4)
            mixed_2N -= power_3[:2] * (mean_N * lean_N * tie_N / 2)
            tied_N += mean_N * tie_N * (1 - tie_N)
            bent_N += mean_N * worth * pull_N
            slope_5N = np.stack([worth + 0 * a_N, data.side_N, data.longer, 0 * a_N, a_N * worth]) * pull_N
            slope_5N[3] = tie_N - self.tied_N
            total_QQ -= _square(self._table(w_N * np.sqrt(share_N) * slope_5N, pair_N))
        return total_QQ + self._given_worth(a_N, curve_3N, mixed_2N, tied_N[0], bent_N[0])

    def _given_worth(self, a_N: Floats, curve_3N: Floats, mixed_2N: Floats, tied_N: Floats, bent_N: Floats) -> Floats:
        """What the choices would tell were worth known [Q, Q], from means over the posterior of worth.

        `curve_3N`, `mixed_2N`: curvature in eta, and in eta and t, times the gap of worth to the power of 0, 1, 2;
        `tied_N`: curvature in t; `bent_N`: slope in eta times the gap.
        """
        data, raters, nil_N = self.data, len(self.data.raters), 0 * a_N
        # eta is linear in the gap: `free` does not turn on it, `gap` is multiplied by it.
        free_5N = np.stack([nil_N, data.side_N, data.longer, nil_N, nil_N])
        gap_5N = np.stack([nil_N + 1, nil_N, nil_N, nil_N, a_N])
        total_QQ, column_5R = np.zeros((self.size,) * 2), self._columns(np.arange(raters))
        for i in range(5):
            for j in range(5):
                row_N = free_5N[i] * free_5N[j] * curve_3N[0] + gap_5N[i] * gap_5N[j] * curve_3N[2]
                row_N += (free_5N[i] * gap_5N[j] + gap_5N[i] * free_5N[j]) * curve_3N[1]
                if 3 in (i, j):
                    other = i + j - 3
                    row_N += free_5N[other] * mixed_2N[0] + gap_5N[other] * mixed_2N[1]
                if i == j == 3:
                    row_N += tied_N
                if {i, j} in ({4}, {0, 4}):  # eta is skill times exp(log s)
                    row_N += bent_N * (a_N if i == j else 1)
                np.add.at(total_QQ, (column_5R[i], column_5R[j]), np.bincount(data.rater_N, row_N, raters))
        return total_QQ

    def _columns(self, rater_N: Ints) -> Ints:
        """Places of (skill, side, length, tie, log s_theta) of each choice in the vector of parameters [5, N]."""
        raters = len(self.data.raters)
        column_5N = np.arange(5)[:, None] * raters + rater_N
        column_5N[4] = 4 * raters + 3
        return np.asarray(column_5N)

    def _table(self, row_5N: Floats, unit_N: Ints) -> sparse.csr_matrix:
        """Sums over the choices of a unit of (skill, side, length, tie, log s_theta), each in its column [U, Q].

        Units rise with the rows, as pairs and groups do; a column may stand twice in a unit, and is then a sum.
        """
        ends_U = 5 * np.searchsorted(unit_N, np.arange(int(unit_N[-1]) + 2))
        columns = self._columns(self.data.rater_N).T.ravel()
        return sparse.csr_matrix((row_5N.T.ravel(), columns, ends_U), shape=(len(ends_U) - 1, self.size))


def _square(table_UQ: sparse.csr_matrix) -> Floats:
    return np.asarray((table_UQ.T @ table_UQ).toarray())


def precision(raters: int, scales: Scales) -> sparse.csr_matrix:
    """Inverse covariance of the prior [Q, Q]: a rater is tied to the mean of his family, means to their centre."""
    of_4 = scales.vector**-2
    every = np.arange(4 * raters)
    mean_of = np.concatenate([np.repeat(4 * raters + family, raters) for family in range(3)])
    weight = np.repeat(of_4[1:], raters)
    own = np.concatenate([np.repeat(of_4, raters), raters * of_4[1:] + MEAN_SCALE**-2, [0.0]])
    rows = np.concatenate([np.arange(4 * raters + 4), every[raters:], mean_of])
    columns = np.concatenate([np.arange(4 * raters + 4), mean_of, every[raters:]])
    return sparse.csr_matrix((np.concatenate([own, -weight, -weight]), (rows, columns)))


def worth_objective(worth_A: Floats, data: Choices, state: State) -> tuple[float, Floats]:
    """Negative log posterior of worth given the raters, and its gradient [A]; convex."""
    a_N, b_N, c_N, t_N = state.raters_4R[:, data.rater_N]
    eta_N = a_N * (worth_A[data.first_N] - worth_A[data.second_N]) + b_N * data.side_N + c_N * data.longer
    lean_N, _, log_N = chances(eta_N, t_N)
    pull_N = data.weight_N * a_N * (lean_N - data.outcome_N) / 2
    answers, prior_A = len(worth_A), worth_A * np.exp(-2 * state.log_worth)
    gradient_A = np.bincount(data.first_N, pull_N, answers) - np.bincount(data.second_N, pull_N, answers)
    loss = float(data.weight_N @ (log_N - data.outcome_N * eta_N / 2 - (data.outcome_N == 0) * t_N))
    return loss + float(worth_A @ prior_A) / 2, gradient_A + prior_A


def worth(data: Choices, state: State) -> Floats:
    """Most likely worth of every answer [A] given the raters, to rounding; within a group it has mean 0."""
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-5}
    start_A = np.zeros(len(data.answers))
    found = minimize(worth_objective, start_A, args=(data, state), jac=True, method="L-BFGS-B", options=options)
    at_A: Floats = found.x
    for _ in range(STEPS):
        gradient_A = worth_objective(at_A, data, state)[1]
        step_A = spsolve(_worth_curve(at_A, data, state), gradient_A, permc_spec="NATURAL")
        most = float(np.abs(step_A).max())
        at_A = np.asarray(at_A - step_A / max(1.0, most), dtype=np.float64)
        if most < SETTLED:
            return at_A
    raise DataError(f"worth did not converge in {STEPS} steps", fix="give narrower scales")


def _worth_curve(worth_A: Floats, data: Choices, state: State) -> sparse.csc_matrix:
    """Hessian of `worth_objective` [A, A], a block for each group."""
    a_N, b_N, c_N, t_N = state.raters_4R[:, data.rater_N]
    eta_N = a_N * (worth_A[data.first_N] - worth_A[data.second_N]) + b_N * data.side_N + c_N * data.longer
    lean_N, tie_N, _ = chances(eta_N, t_N)
    bend_N = data.weight_N * a_N**2 * (1 - tie_N - lean_N**2) / 4
    every, i, j = np.arange(len(worth_A)), data.first_N, data.second_N
    value = np.concatenate([np.full(len(worth_A), np.exp(-2 * state.log_worth)), bend_N, bend_N, -bend_N, -bend_N])
    place = (np.concatenate([every, i, j, i, j]), np.concatenate([every, i, j, j, i]))
    return sparse.csc_matrix((value, place), shape=(len(worth_A),) * 2)
