"""Best-of-n from stored samples: what picking the best of n answers is worth, without drawing again.

N answers are sampled once. For every n <= N the estimate is the mean over all C(N, n) subsets of the judged value of
the answer that the proxy picks in each: an unbiased estimate of best-of-n, with less variance than drawing n answers
anew (Nakano et al. 2021, arXiv 2112.09332, appendix on best-of-n; Gao et al. 2022, arXiv 2210.10760). Sorted by the
proxy, the answer in place i is picked in C(i - 1, n - 1) subsets, so nothing has to be enumerated.

The proxy picks, the judge values what was picked; they are the same where only one is known.

Shapes: N answers of a prompt, L levels of the proxy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assent.core.errors import DataError
from assent.stats.bootstrap import Interval, mean_interval

Floats = npt.NDArray[np.float64]
Scores = Sequence[float | None]


@dataclass(frozen=True)
class Point:
    """Best of `n`: mean over prompts of the value by proxy and by judge, with intervals, and the bound on its KL.

    None: too few answers have a score (mean), or too few subjects were asked (interval).
    """

    n: int
    proxy: float | None
    proxy_interval: Interval | None
    judge: float | None
    judge_interval: Interval | None
    kl_bound: float


def pick_shares(proxy_N: Sequence[float] | Floats, n: int) -> Floats:
    """Share of the subsets of `n` answers in which each answer [N] is the one picked: C(i - 1, n - 1) / C(N, n).

    i is the answer's place from the worst (1) to the best (N). Answers that tie share their places: whichever of
    them stands in a subset is as likely to be picked. The shares add up to 1. Raises DataError unless 1 <= n <= N.
    """
    total = len(proxy_N)
    if not 1 <= n <= total:
        raise DataError(f"best of {n} cannot be told from {total} answers", fix="sample at least as many answers as n")
    _, level_N, count_L = np.unique(np.asarray(proxy_N, dtype=float), return_inverse=True, return_counts=True)
    first_L = np.cumsum(count_L) - count_L
    share_L = np.add.reduceat(_place_shares(total, n), first_L) / count_L
    return np.asarray(share_L[level_N], dtype=float)


def best_of_n(proxy: Scores, judge: Scores, n: int) -> float | None:
    """Expected value by `judge` [N] of the best of `n` answers by `proxy` [N], unbiased.

    An answer without a score is left out; None where fewer than `n` are left. Raises DataError unless 1 <= n <= N.
    """
    if not 1 <= n <= len(proxy):
        pick_shares([0.0] * len(proxy), n)
    known = [(p, j) for p, j in zip(proxy, judge, strict=True) if p is not None and j is not None]
    if len(known) < n:
        return None
    proxy_N, judge_N = np.asarray(known, dtype=float).T
    return float(pick_shares(proxy_N, n) @ judge_N)


def kl_bound(n: int) -> float:
    """Upper bound on KL(best-of-n || policy), nats: log n - (n - 1) / n.

    It is the KL where no answer is drawn twice and no two score alike; otherwise the KL is smaller, and can be much
    smaller (Beirami et al. 2024, arXiv 2401.01879, theorem 1).
    """
    return math.log(n) - (n - 1) / n


def sizes(answers: int) -> list[int]:
    """1, 2, 4, ... up to the number of answers, which is always among them."""
    return [*(1 << k for k in range(answers.bit_length()) if 1 << k < answers), answers]


def curve(
    proxy: Sequence[Scores], judge: Sequence[Scores] | None, units: Sequence[str], answers: int, *, seed: int
) -> list[Point]:
    """Best-of-n for n = 1, 2, 4, ... `answers`, from the scores of each prompt's answers.

    Parameters: `units`, each prompt's subject, over which the intervals are drawn; `judge`, None where no judge is.
    """
    points = []
    for n in sizes(answers):
        by_proxy = [best_of_n(row, row, n) for row in proxy]
        by_judge = [best_of_n(p, j, n) for p, j in zip(proxy, judge, strict=True)] if judge is not None else []
        points.append(
            Point(
                n,
                _mean(by_proxy),
                mean_interval(by_proxy, units, seed=seed),
                _mean(by_judge),
                mean_interval(by_judge, units, seed=seed) if by_judge else None,
                kl_bound(n),
            )
        )
    return points


def _place_shares(total: int, n: int) -> Floats:
    """C(i - 1, n - 1) / C(total, n) for i = 1 .. total: a running product from the top, so that nothing overflows."""
    below = np.arange(total - 1, n - 1, -1, dtype=float)
    falling = np.cumprod([n / total, *((below - n + 1) / below)])
    return np.concatenate([np.zeros(n - 1), falling[::-1]])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
