"""Bradley-Terry scores of items (models, answers) from pairwise choices, with intervals and style control.

    P(i over j) = sigmoid(score_i - score_j + style . (f_i - f_j))        (Bradley & Terry 1952)

A tie is half a win for each. Scores are log-odds and sum to 0; only their differences mean anything. The
likelihood has a finite maximum only if every item is beaten or tied by, and beats or ties, the others along some
chain (Ford 1957); where that fails the fit is refused with the names, unless a ridge says what to do. The maximum
is found by Newton's method on the analytic gradient and Hessian; the problem is concave, so there is one.

Rows of one unit (a prompt) are not independent. Where units are given the standard errors are the clustered
sandwich (Liang & Zeger 1986) with Student's quantile, which also puts right that a tie is no coin flip; without
units they are those of the likelihood.

Shapes: N comparisons, I items, F style features, P = I + F parameters, U units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student

from assent.core.errors import DataError
from assent.stats.bootstrap import LEVEL, MIN_UNITS, Interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STYLE = ("length", "headers", "lists", "bold")
"""Style features: characters, Markdown headers, list items, bold spans."""
_MARKS = (r"^#{1,6}\s", r"^\s*(?:[-*+]|\d+[.)])\s", r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_COUNTED = [re.compile(mark, re.MULTILINE) for mark in _MARKS]


@dataclass(frozen=True)
class Ratings:
    """Scores [I] in log-odds, summing to 0, and style weights [F] with standard errors and intervals."""

    names: tuple[str, ...]
    score: Floats
    error: Floats
    """Standard error of each score."""
    low: Floats
    high: Floats
    style: dict[str, Interval]
    """Log-odds for one typical (root mean square) style difference."""
    n: int
    """Comparisons."""
    units: int | None
    """Units the intervals are clustered by; None: rows taken as independent."""

    @property
    def strength(self) -> Floats:
        """exp(score), scaled to sum 1 [I]."""
        weight_I = np.exp(self.score - self.score.max())
        return np.asarray(weight_I / weight_I.sum())

    @property
    def by_name(self) -> dict[str, float]:
        """Score of each item."""
        return dict(zip(self.names, map(float, self.score), strict=True))

    def chance(self, first: str, second: str) -> float:
        """P(first over second) at equal style; a tie counts half."""
        score = self.by_name
        return float(expit(score[first] - score[second]))


def fit(
    first: Sequence[str],
    second: Sequence[str],
    won: Sequence[float] | Floats,
    *,
    units: Sequence[str] | None = None,
    style: Mapping[str, Floats] | None = None,
    ridge: float = 0.0,
) -> Ratings:
    """Scores that maximise the likelihood of `won`.

    Parameters: `first`, `second` [N], names; `won` [N], 1 where the first was better, 0.5 for a tie, 0 else;
    `units` [N], the prompt of each row; `style`, name -> difference first minus second [N], see
    `style_differences`; `ridge`, strength of a penalty ridge / 2 x score^2 that pulls unbounded scores to 0.

    Raises DataError where rows do not fit, where scores are unbounded and there is no ridge (with the names),
    and where style cannot be told from the items or separates the choices.
    """
    names, i_N, j_N, won_N = _checked(first, second, won)
    if ridge < 0:
        raise DataError(f"ridge {ridge} is negative")
    if ridge == 0:
        _refuse_unbounded(names, i_N, j_N, won_N)
    x_NP = _design(len(names), i_N, j_N, style or {})
    penalty_P = np.r_[np.full(len(names), ridge), np.zeros(x_NP.shape[1] - len(names))]
    weight_P, hessian_PP = _newton(x_NP, won_N, penalty_P, len(names))
    covariance_PP, quantile, count = _covariance(x_NP, won_N, weight_P, hessian_PP, len(names), units)
    error_P = np.sqrt(np.maximum(np.diag(covariance_PP), 0.0))
    low_P, high_P = weight_P - quantile * error_P, weight_P + quantile * error_P
    found = [
        Interval(float(w), float(low), float(high), n=count or len(won_N), rows=len(won_N))
        for w, low, high in zip(weight_P, low_P, high_P, strict=True)
    ]
    k = len(names)
    by_feature = dict(zip(style or {}, found[k:], strict=True))
    return Ratings(tuple(names), weight_P[:k], error_P[:k], low_P[:k], high_P[:k], by_feature, len(won_N), count)


def style_features(text: str) -> Floats:
    """Characters, headers, list items and bold spans of a text [4], in the order of `STYLE`."""
    return np.array([len(text), *(len(mark.findall(text)) for mark in _COUNTED)], dtype=float)


def style_differences(first: Sequence[str], second: Sequence[str]) -> dict[str, Floats]:
    """Relative differences (f_i - f_j) / (f_i + f_j) of each style feature of two texts [N], 0 where both are 0.

    As Chatbot Arena controls for style (Li, Angelopoulos & Chiang 2024). Swapping the texts swaps the sign.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} first texts but {len(second)} second ones")
    pair_2NF = np.array([[style_features(text) for text in side] for side in (first, second)])
    total_NF = pair_2NF.sum(axis=0)
    gap_NF = (pair_2NF[0] - pair_2NF[1]) / np.where(total_NF == 0, 1.0, total_NF)
    return dict(zip(STYLE, gap_NF.T, strict=True))


def _checked(
    first: Sequence[str], second: Sequence[str], won: Sequence[float] | Floats
) -> tuple[list[str], Ints, Ints, Floats]:
    won_N = np.asarray(won, dtype=float)
    if not len(first) == len(second) == len(won_N):
        raise DataError(f"{len(first)} first items, {len(second)} second ones, {len(won_N)} outcomes")
    if not len(won_N):
        raise DataError("no comparisons to fit", fix="give at least one")
    if not ((won_N >= 0) & (won_N <= 1)).all():
        raise DataError("an outcome is outside 0..1", fix="1 the first won, 0.5 tie, 0 the second won")
    found, place_M = np.unique(np.asarray([*first, *second], dtype=str), return_inverse=True)
    i_N, j_N = np.split(place_M.astype(np.int64), 2)
    if (i_N == j_N).any():
        raise DataError(f"{found[i_N[i_N == j_N][0]]} is compared with itself")
    return [str(name) for name in found], i_N, j_N, won_N


def _refuse_unbounded(names: Sequence[str], i_N: Ints, j_N: Ints, won_N: Floats) -> None:
    """Ford's condition: the graph of `i beat or tied j` is strongly connected."""
    up_N, down_N = won_N > 0, won_N < 1
    start, end = np.r_[i_N[up_N], j_N[down_N]], np.r_[j_N[up_N], i_N[down_N]]
    graph = sparse.coo_matrix((np.ones(len(start)), (start, end)), shape=(len(names),) * 2)
    count, part_I = connected_components(graph, directed=True, connection="strong")
    if count == 1:
        return
    islands = connected_components(graph, directed=False, return_labels=False)
    main = np.bincount(part_I).argmax()
    outside = [name for name, part in zip(names, part_I, strict=True) if part != main]
    listed = ", ".join(outside[:10]) + (f" and {len(outside) - 10} more" if len(outside) > 10 else "")
    why = f"the comparisons fall into {islands} parts" if islands > 1 else "they won, or lost, every one across"
    raise DataError(
        f"no finite Bradley-Terry scores beside the others for {listed}: {why}",
        fix="leave them out, compare them more, or give a ridge (0.1, say), which pulls scores to 0",
    )


def _design(items: int, i_N: Ints, j_N: Ints, style: Mapping[str, Floats]) -> sparse.csr_matrix:
    """+1 for the first item, -1 for the second, then style differences over their root mean square [N, P]."""
    row_N, one_N = np.arange(len(i_N)), np.ones(len(i_N))
    pairs = sparse.csr_matrix((np.r_[one_N, -one_N], (np.r_[row_N, row_N], np.r_[i_N, j_N])), shape=(len(i_N), items))
    columns = []
    for name, gap in style.items():
        gap_N = np.asarray(gap, dtype=float)
        if gap_N.shape != i_N.shape or not np.isfinite(gap_N).all():
            raise DataError(f"style `{name}` needs one finite difference a row")
        typical = np.sqrt((gap_N**2).mean())
        if typical == 0:
            raise DataError(f"style `{name}` never differs", fix="leave it out")
        columns.append(sparse.csr_matrix(gap_N[:, None] / typical))
    return sparse.hstack([pairs, *columns], format="csr")


def _newton(x_NP: sparse.csr_matrix, won_N: Floats, penalty_P: Floats, items: int) -> tuple[Floats, Floats]:
    """Maximum [P] and the Hessian there [P, P], to which 1 is added along the direction of equal scores."""
    weight_P = np.zeros(x_NP.shape[1])
    value = _loss(x_NP, won_N, penalty_P, weight_P)
    for _ in range(200):
        gradient_P, hessian_PP = _curve(x_NP, won_N, penalty_P, weight_P, items)
        if np.linalg.cond(hessian_PP) > 1e12:
            break
        step_P = np.linalg.solve(hessian_PP, gradient_P)
        if np.abs(step_P).max() < 1e-12:
            return weight_P, hessian_PP
        size = 1.0
        while size > 1e-8 and _loss(x_NP, won_N, penalty_P, weight_P - size * step_P) > value + 1e-12 * abs(value):
            size /= 2
        weight_P = weight_P - size * step_P
        weight_P[:items] -= weight_P[:items].mean()
        value = _loss(x_NP, won_N, penalty_P, weight_P)
    raise DataError(
        "the weights of style have no finite maximum: it separates the choices, or is a sum of the others",
        fix="leave out a style feature",
    )


def _loss(x_NP: sparse.csr_matrix, won_N: Floats, penalty_P: Floats, weight_P: Floats) -> float:
    margin_N = x_NP @ weight_P
    return float((np.logaddexp(0.0, margin_N) - won_N * margin_N).sum() + (penalty_P * weight_P**2).sum() / 2)


def _curve(
    x_NP: sparse.csr_matrix, won_N: Floats, penalty_P: Floats, weight_P: Floats, items: int
) -> tuple[Floats, Floats]:
    chance_N = expit(x_NP @ weight_P)
    gradient_P = x_NP.T @ (chance_N - won_N) + penalty_P * weight_P
    hessian_PP = (x_NP.T @ x_NP.multiply((chance_N * (1 - chance_N))[:, None])).toarray() + np.diag(penalty_P)
    hessian_PP[:items, :items] += 1.0 / items
    return np.asarray(gradient_P), np.asarray(hessian_PP)


def _covariance(
    x_NP: sparse.csr_matrix,
    won_N: Floats,
    weight_P: Floats,
    hessian_PP: Floats,
    items: int,
    units: Sequence[str] | None,
) -> tuple[Floats, float, int | None]:
    """Covariance [P, P] of the estimates, the quantile that goes with it, and the number of units."""
    inverse_PP = np.asarray(np.linalg.inv(hessian_PP), dtype=np.float64)
    level = (1 + LEVEL) / 2
    if units is None:
        inverse_PP[:items, :items] -= 1.0 / items
        return np.asarray(inverse_PP), float(norm.ppf(level)), None
    if len(units) != len(won_N):
        raise DataError(f"{len(won_N)} comparisons but {len(units)} unit names", fix="one unit name per row")
    names, place_N = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    count = len(names)
    if count < MIN_UNITS:
        raise DataError(f"{count} units are too few for an interval", fix=f"give at least {MIN_UNITS}, or no units")
    surprise_N = won_N - expit(x_NP @ weight_P)
    member = sparse.csr_matrix((surprise_N, (place_N, np.arange(len(place_N)))), shape=(count, len(place_N)))
    slope_UP = (member @ x_NP).toarray()
    meat_PP = slope_UP.T @ slope_UP * count / (count - 1)
    return inverse_PP @ meat_PP @ inverse_PP, float(student.ppf(level, count - 1)), count
