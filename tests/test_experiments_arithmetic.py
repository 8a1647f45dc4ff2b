"""The claim about sums, on answers that were planted: held where more are right, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assent.artifacts.store import Store
from assent.core.jsonl import write_json, write_records
from assent.core.records import Group
from assent.experiments.arithmetic import accuracies, one_seed
from assent.lab.sums import prompts
from tiny import group


def run(folder: Path, after: list[list[float]]) -> Store:
    """A run whose SFT model answers every other of 24 sums right, and whose GRPO model answers as given."""
    data = folder / "audit/data"
    data.mkdir(parents=True)
    asked = {prompt.subject: prompt for prompt in prompts()}
    groups: list[Group] = [group(prompt, "a", "b") for prompt in list(asked.values())[:24]]
    for name, worth in {"sft": [[1.0, 0.0]] * 24, "grpo": after}.items():
        write_records(data / f"answers-{name}.jsonl", groups)
        write_json(data / f"worth-{name}.json", [score for row in worth for score in row])
    (folder / "grpo").mkdir()
    rows = [{"step": i, "rewards/exact/mean": 0.25 * (i + 1)} for i in range(3)]
    (folder / "grpo/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Store(folder)


def test_a_rise_holds_and_its_figures_are_shares(tmp_path: Path) -> None:
    store = run(tmp_path, [[1.0, 1.0]] * 18 + [[0.0, 0.0]] * 6)
    before, after, rise = accuracies(store)
    assert (before.estimate, after.estimate, rise.estimate) == (0.5, 0.75, 0.25)
    assert rise.n == 24 and rise.rows == 48
    claim, curve = one_seed(store)
    assert claim.held is True and curve.held is None
    assert "0.250 -> 0.750 (3 iterations)" in curve.figures


@pytest.mark.parametrize(
    "after",
    [
        [[0.0, 1.0]] * 24,  # the other answer of each: no difference by sum
        [[1.0, 1.0]] * 13 + [[0.0, 0.0]] * 11,  # two answers more of 48: chance
        [[0.0, 0.0]] * 24,
    ],
)
def test_no_rise_and_chance_do_not(tmp_path: Path, after: list[list[float]]) -> None:
    assert one_seed(run(tmp_path, after))[0].held is False
