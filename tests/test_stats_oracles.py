"""Bradley-Terry beside two libraries written by others: evalica (Newman iterations) and choix (spectral)."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import choix
import evalica
import numpy as np
import pytest

from assent.stats.bradley_terry import fit

CROWD = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/llmfao-crowd"
WON = {"left": 1.0, "tie": 0.5, "right": 0.0}

Rows = tuple[list[str], list[str], list[float]]
Oracle = Callable[[Rows], dict[str, float]]


def played(seed: int) -> Rows:
    """A round of ties that connects 5 to 12 items, and 150 random choices of which a fifth are ties."""
    rng = np.random.default_rng(seed)
    items = int(rng.integers(5, 13))
    truth = rng.normal(size=items)
    pairs = [(i, (i + 1) % items) for i in range(items)] + [
        tuple(rng.choice(items, 2, replace=False)) for _ in range(150)
    ]
    won = [0.5] * items
    for i, j in pairs[items:]:
        better = float(rng.random() < 1 / (1 + np.exp(truth[j] - truth[i])))
        won.append(0.5 if rng.random() < 0.2 else better)
    return [f"m{i:02d}" for i, _ in pairs], [f"m{j:02d}" for _, j in pairs], won


def crowd() -> Rows:
    with gzip.open(CROWD / "crowd-comparisons.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    return [r["left"] for r in rows], [r["right"] for r in rows], [WON[r["winner"]] for r in rows]


def by_evalica(rows: Rows) -> dict[str, float]:
    """Log strengths, summing to 0, of the library's own default: a tie is half a win each."""
    word = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
    found = evalica.bradley_terry(rows[0], rows[1], [word[w] for w in rows[2]], tolerance=1e-12, limit=10_000)
    log = np.log(found.scores)
    return dict(zip(map(str, log.index), log - log.mean(), strict=True))


def by_choix(rows: Rows) -> dict[str, float]:
    """The same from a table of wins by item and item, a tie half in either cell."""
    names = sorted({*rows[0], *rows[1]})
    wins = np.zeros((len(names), len(names)))
    for i, j, won in zip(*rows, strict=True):
        wins[names.index(i), names.index(j)] += won
        wins[names.index(j), names.index(i)] += 1 - won
    score = choix.ilsr_pairwise_dense(wins, max_iter=1000, tol=1e-11)
    return dict(zip(names, score - score.mean(), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("oracle", [by_evalica, by_choix])
def test_random_choices_with_ties(oracle: Oracle, seed: int) -> None:
    rows = played(seed)
    assert fit(*rows).by_name == pytest.approx(oracle(rows), abs=1e-6)


@pytest.mark.skipif(not CROWD.exists(), reason=f"no {CROWD}: set ASSENT_TEST_DATA")
@pytest.mark.parametrize("oracle", [by_evalica, by_choix])
def test_real_crowd_votes(oracle: Oracle) -> None:
    rows = crowd()
    assert fit(*rows).by_name == pytest.approx(oracle(rows), abs=1e-6)


@pytest.mark.parametrize("ridge", [0.1, 2.0])
def test_a_ridge_is_the_normal_prior_of_choix(ridge: float) -> None:
    """Items that won every time, which only a penalty bounds; choix's alpha is the whole factor of score^2."""
    first, second, won = ["a", "b", "c", "a", "d"], ["b", "c", "b", "d", "c"], [1.0, 1.0, 0.0, 1.0, 1.0]
    names = ["a", "b", "c", "d"]
    pairs = [(i, j) if w else (j, i) for i, j, w in zip(first, second, won, strict=True)]
    data = [(names.index(i), names.index(j)) for i, j in pairs]
    score = choix.opt_pairwise(4, data, alpha=ridge / 2, tol=1e-10)
    found = fit(first, second, won, ridge=ridge).by_name
    assert [found[name] for name in names] == pytest.approx(list(score - score.mean()), abs=1e-6)
