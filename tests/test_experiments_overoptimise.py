"""Over-optimisation: how curves are read, what is paired with what, and when a claim fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assent.artifacts.store import Store
from assent.core.errors import ArtifactError
from assent.core.jsonl import write_records
from assent.core.records import Answer, Group, Prompt
from assent.experiments import overoptimise as over
from made_runs import audit, row, step


def test_smoothing_by_hand() -> None:
    assert over.smooth([1.0, 2.0, 3.0, 6.0], 2) == pytest.approx([1.5, 2.5, 4.5])
    assert over.trailing([1.0, 2.0, 3.0, 6.0], 2) == pytest.approx([1.0, 1.5, 2.5, 4.5])
    assert over.smooth([1.0, 2.0], 10) == pytest.approx([1.5]), "fewer than a window: all in one"


def test_a_turn_by_hand() -> None:
    """0 up to 1 over 20 iterations, then 10 at 1, then 10 at 0.5: the peak's window is the ten at 1."""
    gold = [i / 20 for i in range(20)] + [1.0] * 10 + [0.5] * 10
    found = over.turn(gold)
    assert (found.start, found.peak, found.peak_at, found.end) == pytest.approx((0.225, 1.0, 30, 0.5))
    assert over.fall(gold) == pytest.approx(0.5)
    rising = [float(i) for i in range(40)]
    assert over.after_peak(rising, gold) == pytest.approx(10.0), "the proxy's windows end at 30 and at 40"


def test_a_curve_that_only_rises_does_not_fall() -> None:
    rising = [i / 100 for i in range(120)]
    assert over.fall(rising) == pytest.approx(0.0)
    assert over.turn(rising).peak == over.turn(rising).end


def test_noise_alone_is_no_fall() -> None:
    """Where gold stands still, the peak of a smoothed curve lies above its end; `fall` is 0 on average."""
    rng = np.random.default_rng(0)
    curves = rng.normal(0.0, 0.1, size=(400, 120))
    naive = [over.turn(c).peak - over.turn(c).end for c in curves]
    falls = [over.fall(c) for c in curves]
    error = float(np.std(falls)) / 20
    assert np.mean(naive) > 0.04
    assert abs(float(np.mean(falls))) < 3 * error


# Runs made up by hand: gold and proxy by iteration, and audits whose answers are paired.

ITERATIONS = 40


def run(root: Path, *, unleashed_end: float = 0.0, effect: float = 0.3, longer: int = 2, wobble: float = 0.0) -> Store:
    """Gold rises to 0.5 and falls to `unleashed_end`; the leashed policy stays at 0.5; `wobble` is the seed's own."""
    step(root, "sft")
    peak = 0.5 + wobble
    fallen = [peak] * 20 + [unleashed_end] * 20
    for arm, proxy, gold in (
        ("leashed", [0.5] * ITERATIONS, [0.5] * ITERATIONS),
        ("unleashed", [i / 20 + wobble * i for i in range(ITERATIONS)], fallen),
        ("ensemble", [i / 30 for i in range(ITERATIONS)], [peak] * ITERATIONS),
        ("biased", [0.0] * ITERATIONS, [0.0] * ITERATIONS),
    ):
        folder = step(root, arm, "ppo")
        lines = [{"step": i, over.PROXY: p, over.GOLD: g} for i, (p, g) in enumerate(zip(proxy, gold, strict=True))]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    worth = {
        "sft": 0.3,
        "leashed": 0.5,
        "unleashed": unleashed_end,
        "ensemble": unleashed_end + effect + wobble,
        "biased": 0.1,
    }
    for name in ("audit", over.ALL):
        models = {
            model: worth[model] for model in worth if name == over.ALL or model in ("sft", "leashed", "unleashed")
        }
        made = audit(root / "x", {model: row(value, None, 0.0) for model, value in models.items()})
        made.rename(root / name)
        for model, value in models.items():
            _answers(root / name / "data", model, value, 3 + (longer + round(wobble * 100) if model == "biased" else 0))
    return Store(root)


def _answers(folder: Path, model: str, worth: float, words: int) -> None:
    """Two answers to each of 12 prompts; prompts differ in worth by far more than models do."""
    groups, values = [], []
    for i in range(12):
        prompt = Prompt(messages=({"role": "user", "content": f"q{i}"},), tags={"subject": f"s{i}"})
        answers = tuple(Answer(id=f"{i}{k}", text=" ".join(["w"] * words), source=model) for k in range(2))
        groups.append(Group(prompt=prompt, answers=answers))
        values += [worth + i, worth + i]
    write_records(folder / f"answers-{model}.jsonl", groups)
    (folder / f"worth-{model}.json").write_text(json.dumps(values))


def test_differences_are_paired_by_prompt(tmp_path: Path) -> None:
    """Worth varies by 11 between prompts, but the difference is -0.5 on every one: no width at all."""
    found = over.difference(run(tmp_path / "a"), "audit", "unleashed", "leashed")
    assert (found.estimate, found.low, found.high, found.n) == pytest.approx((-0.5, -0.5, -0.5, 12))


def test_one_seed_holds_and_says_so(tmp_path: Path) -> None:
    checks = over.one_seed(run(tmp_path / "a"))
    assert [c.held for c in checks] == [True, True, None]
    assert "0.500 -> 1.725" in checks[0].figures  # the mean of 30/20 ... 39/20
    assert "0.500, 0.500 (iteration 10), 0.000" in checks[2].figures


def test_one_seed_fails_where_gold_did_not_fall(tmp_path: Path) -> None:
    assert [c.held for c in over.one_seed(run(tmp_path / "a", unleashed_end=0.6))] == [True, False, None]


def stores(tmp_path: Path, **changed: float) -> list[Store]:
    wobbles = (-0.02, -0.01, 0.0, 0.01, 0.02)
    return [run(tmp_path / f"{i}", wobble=w, **changed) for i, w in enumerate(wobbles)]  # type: ignore[arg-type]


def test_over_seeds_by_hand(tmp_path: Path) -> None:
    """The fall is 0.5 + wobble: mean 0.5, deviation 0.0158, t of 4 degrees 2.776: half-width 0.0196."""
    checks = over.over_seeds(stores(tmp_path))
    assert [c.held for c in checks] == [True, True, True, None, None, True]
    assert "+0.500 [+0.480, +0.520]" in checks[0].figures
    assert "+0.300 [+0.280, +0.320] over seeds" in checks[3].figures
    assert checks[5].figures.startswith("+2.000 [+0.037, +3.963] over seeds"), "words 0, 1, 2, 3, 4 more"


def test_over_seeds_fails_where_a_bias_does_not_get_through(tmp_path: Path) -> None:
    assert [c.held for c in over.over_seeds(stores(tmp_path, longer=0))][-1] is False


def test_over_seeds_fails_where_gold_does_not_turn_over(tmp_path: Path) -> None:
    assert over.over_seeds(stores(tmp_path, unleashed_end=0.5))[0].held is False


def test_the_picture_shows_every_arm_and_needs_one(tmp_path: Path) -> None:
    drawn = over.picture([run(tmp_path / "a"), run(tmp_path / "b", wobble=0.1)])
    assert all(name in drawn for name in over.ARMS.values())
    with pytest.raises(ArtifactError, match="none of the policies"):
        over.picture([Store(tmp_path / "none")])
