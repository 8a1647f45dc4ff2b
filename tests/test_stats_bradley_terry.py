"""Bradley-Terry: by hand, against published scores, unbounded scores refused, intervals that hold."""

from __future__ import annotations

import csv
import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from assent.core.errors import DataError
from assent.stats.bradley_terry import fit, style_differences, style_features

CROWD = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "data/llmfao-crowd"
WON = {"left": 1.0, "tie": 0.5, "right": 0.0}


@pytest.mark.skipif(not CROWD.exists(), reason=f"no {CROWD}: set ASSENT_TEST_DATA")
def test_published_scores_of_real_crowd_votes() -> None:
    """The golden column holds strengths that sum to 1; a tie is half a win each."""
    with gzip.open(CROWD / "crowd-comparisons.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    with (CROWD / "llmfao-golden.csv").open() as file:
        golden = {r["item"]: float(r["score"]) for r in csv.DictReader(file) if r["algorithm"] == "bradley_terry"}
    left, right, won = ([r[k] for r in rows] for k in ("left", "right", "winner"))
    found = fit(left, right, [WON[w] for w in won])
    ours = dict(zip(found.names, found.strength, strict=True))
    assert ours.keys() == golden.keys()
    assert max(abs(ours[name] - golden[name]) for name in golden) < 1e-9
    assert max(abs(math.log(ours[name] / golden[name])) for name in golden) < 1e-9
    turned = fit(right, left, [1 - WON[w] for w in won])
    assert np.abs(turned.score - found.score).max() < 1e-9


def test_two_items_by_hand() -> None:
    # 6 wins, 2 losses, 4 ties: 8 of 12, log-odds log 2; information 12 x 2/3 x 1/3 = 8/3 on the difference.
    found = fit(["a"] * 12, ["b"] * 12, [1] * 6 + [0] * 2 + [0.5] * 4)
    assert found.by_name["a"] - found.by_name["b"] == pytest.approx(math.log(2))
    assert found.score.sum() == pytest.approx(0)
    assert found.error[0] == pytest.approx(math.sqrt(3 / 8) / 2)
    assert found.chance("a", "b") == pytest.approx(2 / 3)
    assert found.low[0] < found.score[0] < found.high[0]


def test_a_tie_is_half_a_win_for_each() -> None:
    ties = fit(["a", "a", "b", "a"], ["b", "b", "c", "c"], [0.5, 1, 0.5, 0.5])
    doubled = fit(["a"] * 4 + ["b"] * 2 + ["a"] * 2, ["b"] * 4 + ["c"] * 4, [1, 0, 1, 1, 1, 0, 1, 0])
    assert ties.score == pytest.approx(doubled.score)


def test_unbounded_scores_are_refused_by_name_and_a_ridge_bounds_them() -> None:
    first, second, won = ["a", "b", "a", "never"], ["b", "a", "b", "a"], [1, 1, 0, 0]
    with pytest.raises(DataError, match=r"for never: they won, or lost"):
        fit(first, second, won)
    with pytest.raises(DataError, match=r"for (a, b|c, d): the comparisons fall into 2 parts"):
        fit(["a", "b", "c", "d"], ["b", "a", "d", "c"], [1, 1, 1, 1])
    weak, strong = (fit(first, second, won, ridge=ridge).by_name["never"] for ridge in (0.01, 1.0))
    assert weak < strong < 0


def test_bad_rows_are_refused() -> None:
    for first, second, won in [(["a"], ["a"], [1]), (["a"], ["b"], [2]), (["a"], ["b"], []), ([], [], [])]:
        with pytest.raises(DataError):
            fit(first, second, won)
    with pytest.raises(DataError, match="too few"):
        fit(["a", "b"], ["b", "a"], [1, 1], units=["p", "p"])
    with pytest.raises(DataError, match="never differs"):
        fit(["a", "b"], ["b", "a"], [1, 1], style={"length": np.zeros(2)})
    with pytest.raises(DataError, match="separates the choices"):
        fit(["a", "b"], ["b", "a"], [1, 1], style={"length": np.ones(2)})


def planted(rng: np.random.Generator, *, drift: float) -> tuple[dict[str, list[str]], list[float], np.ndarray]:
    """40 prompts x 24 rows among 5 items whose score moves by `drift` from prompt to prompt; length counts 0.8."""
    truth = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    rows: dict[str, list[str]] = {"first": [], "second": [], "unit": []}
    won, gap = [], []
    for prompt in range(40):
        here = truth + drift * rng.normal(size=5)
        for _ in range(24):
            i, j = rng.choice(5, 2, replace=False)
            # Better items write longer: without style control length would be taken for skill.
            z = rng.normal() + 0.5 * (truth[i] - truth[j])
            won.append(float(rng.random() < expit(here[i] - here[j] + 0.8 * z)))
            gap.append(z)
            rows["first"].append(f"m{i}")
            rows["second"].append(f"m{j}")
            rows["unit"].append(f"p{prompt}")
    return rows, won, np.array(gap)


def test_style_control_takes_out_what_length_was_worth() -> None:
    rows, won, gap = planted(np.random.default_rng(1), drift=0.0)
    plain = fit(rows["first"], rows["second"], won)
    controlled = fit(rows["first"], rows["second"], won, units=rows["unit"], style={"length": gap})
    typical = float(np.sqrt((gap**2).mean()))
    effect = controlled.style["length"]
    assert effect.low < 0.8 * typical < effect.high
    truth = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert (controlled.low < truth).all() and (truth < controlled.high).all()
    assert np.ptp(plain.score) > np.ptp(controlled.score) + 0.2


def test_intervals_by_prompt_hold_where_those_by_row_are_too_narrow() -> None:
    truth = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    inside, narrow = [], []
    for seed in range(60):
        rows, won, gap = planted(np.random.default_rng(seed), drift=0.8)
        columns = rows["first"], rows["second"], won
        clustered = fit(*columns, units=rows["unit"], style={"length": gap})
        by_row = fit(*columns, style={"length": gap})
        # A population average of log-odds lies nearer 0 than the mean over prompts: item 2 alone has truth 0 in both.
        inside.append(clustered.low[2] < truth[2] < clustered.high[2])
        narrow.append(by_row.low[2] < truth[2] < by_row.high[2])
    assert 0.88 <= np.mean(inside) <= 1.0
    assert np.mean(narrow) < np.mean(inside)


def test_style_is_counted_as_a_reader_sees_it_and_swaps_sign() -> None:
    text = "# Title\n\n- one\n- **two**\n1. three\n## More\n"
    assert style_features(text).tolist() == [len(text), 2, 3, 1]
    gap, back = style_differences([text], ["plain"]), style_differences(["plain"], [text])
    assert gap["headers"].tolist() == [1.0]
    assert gap["length"][0] == pytest.approx((len(text) - 5) / (len(text) + 5))
    assert all(np.array_equal(gap[name], -back[name]) for name in gap)
    assert style_differences(["a"], ["b"])["bold"].tolist() == [0.0]
