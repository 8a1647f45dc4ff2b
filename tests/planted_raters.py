"""Choices drawn from the rater model with known skills and biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assent.stats.choices import Choices, of_arrays

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """What was planted: raters_4R (skill, side, length, tie), their means, answers' worth."""

    raters_4R: Floats
    means_4: Floats
    worth_A: Floats


def planted(
    rng: np.random.Generator,
    *,
    raters: int = 20,
    groups: int = 600,
    overlap: int = 3,
    answers: int = 2,
    worth: float = 1.0,
    means: tuple[float, float, float, float] = (1.0, 0.3, 0.4, -0.5),
    spread: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.5),
) -> tuple[Choices, Planted]:
    """Each group of 2 answers or more is judged, pair by pair, by `overlap` raters of `raters`."""
    count = groups * answers
    worth_A, length_A = worth * rng.normal(size=count), np.exp(rng.normal(5.0, 0.5, size=count))
    raters_4R = np.array(means)[:, None] + np.array(spread)[:, None] * rng.normal(size=(4, raters))
    pairs = [(i, j) for i in range(answers) for j in range(i + 1, answers)]
    group_N = np.repeat(np.arange(groups), overlap * len(pairs))
    first_N = group_N * answers + np.tile([i for i, _ in pairs], groups * overlap)
    second_N = group_N * answers + np.tile([j for _, j in pairs], groups * overlap)
    rater_N = np.concatenate([np.repeat(rng.permutation(raters)[:overlap], len(pairs)) for _ in range(groups)])
    side_N = rng.choice([-1.0, 1.0], len(group_N))
    columns = {"group_A": np.repeat(np.arange(groups), answers), "length_A": length_A, "first_N": first_N}
    columns |= {"second_N": second_N, "rater_N": rater_N, "side_N": side_N}
    longer_N = of_arrays(**columns, outcome_N=np.zeros(len(group_N))).longer
    a_N, b_N, c_N, t_N = raters_4R[:, rater_N]
    eta_N = a_N * (worth_A[first_N] - worth_A[second_N]) + b_N * side_N + c_N * longer_N
    weight_3N = np.exp([eta_N / 2, t_N, -eta_N / 2])
    mark_N = rng.random(len(eta_N)) * weight_3N.sum(axis=0)
    outcome_N = np.where(mark_N < weight_3N[0], 1.0, np.where(mark_N < weight_3N[:2].sum(axis=0), 0.0, -1.0))
    data = of_arrays(**columns, outcome_N=outcome_N, raters=[f"r{r:03d}" for r in range(raters)])
    return data, Planted(raters_4R, np.array(means), worth_A)
