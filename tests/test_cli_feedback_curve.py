"""`assent feedback curve`: finished runs in, how many more judgments out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assent.artifacts.manifest import Manifest
from assent.web.curve import points
from toy_run import assent

PAIRS = 1_000_000


def run(folder: Path, rankings: int, accuracy: float, steps: tuple[str, ...] = ("reward",)) -> str:
    """A run that finished these reward steps."""
    for step in steps:
        headline = {"rankings": rankings, "accuracy": accuracy, "n": PAIRS}
        made = Manifest(step=step, kind="reward", key="k", content="c", seed=0, seconds=1.0, headline=headline)
        (folder / step).mkdir(parents=True)
        (folder / step / "manifest.json").write_text(made.model_dump_json())
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Accuracy 0.9 - 2 / sqrt(n), in no order, the last named by its step."""
    made = [run(tmp_path / str(n), n, 0.9 - 2 / n**0.5) for n in (400, 100, 3600, 1600)]
    return [*made[:3], f"{made[3]}/reward"]


def test_the_curve_through_runs(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("feedback", "curve", *runs) == 0
    lines = capsys.readouterr().out.splitlines()
    # 0.9 - 2 / sqrt(7200) = 0.8764; 0.88 takes 10,000 rankings, 6,400 more; 0.9 is never reached.
    assert lines[5].startswith("at twice the 3,600 rankings: 87.6 %, 87.")
    found = re.fullmatch(r"for 88.0 %, more rankings: ([\d,]+), ([\d,]+) to ([\d,]+)", lines[6])
    assert found
    estimate, low, high = (int(n.replace(",", "")) for n in found.groups())
    assert estimate == pytest.approx(6400, rel=0.1) and low < 6400 < high  # slopes are a grid; 0.5 is not on it
    assert lines[7] == "for 90.0 %, more rankings: beyond the curve"
    # Its rows are what the lead's page reads.
    assert points("\n".join(lines[1:5])) == [(n, round(0.9 - 2 / n**0.5, 4), PAIRS) for n in (100, 400, 1600, 3600)]


def test_what_is_no_point_is_said(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("feedback", "curve", *runs[:3]) == 2
    assert "3 sizes are too few" in capsys.readouterr().err
    two = run(tmp_path / "two", 50, 0.6, ("reward-a", "reward-b"))
    assert assent("feedback", "curve", *runs[:3], two) == 2
    said = capsys.readouterr().err
    assert "holds 2 finished reward models: reward-a, reward-b" in said and "one reward step" in said
    assert assent("feedback", "curve", *runs[:3], f"{two}/reward-b") == 0
    assert assent("feedback", "curve", str(tmp_path / "none")) == 2
    assert "no such run" in capsys.readouterr().err
