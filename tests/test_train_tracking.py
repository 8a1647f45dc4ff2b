"""metrics.jsonl and samples.jsonl: valid JSON, no step twice after a resume."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from assent.train.tracking import METRICS, SAMPLES, Tracker, cut, read_metrics


def lines(path: Path) -> list[dict]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_one_line_a_step_and_its_samples(tmp_path: Path) -> None:
    with Tracker(tmp_path / "step", 0) as tracker:
        for step in range(3):
            tracker.log(step, {"loss": 1.5 - step}, [{"answer": f"a{step}"}, {"answer": "b"}])
    assert lines(tmp_path / "step" / METRICS) == [{"step": s, "loss": 1.5 - s} for s in range(3)]
    assert read_metrics(tmp_path / "step") == lines(tmp_path / "step" / METRICS)
    assert [row["step"] for row in lines(tmp_path / "step" / SAMPLES)] == [0, 0, 1, 1, 2, 2]
    events = EventAccumulator(str(tmp_path / "step" / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 1.5), (1, 0.5), (2, -0.5)]


def test_a_resume_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0) as tracker:
        for step in range(5):
            tracker.log(step, {"loss": float(step)}, [{"answer": str(step)}])
    for name in (METRICS, SAMPLES):  # killed in the middle of a line
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 5, "lo')
    with Tracker(tmp_path, 3) as tracker:
        tracker.log(3, {"loss": 30.0}, [{"answer": "other"}])
    assert [(row["step"], row["loss"]) for row in lines(tmp_path / METRICS)] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 30),
    ]
    assert [row["answer"] for row in lines(tmp_path / SAMPLES)] == ["0", "1", "2", "other"]


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\x85b", "a\nb", "a\r\nb", "a\x1cb", '"', "\ud7ff", "é"])
def test_whatever_an_answer_holds_no_line_is_lost(tmp_path: Path, text: str) -> None:
    """Unicode line separators stand unescaped in JSON; cutting at them would drop every later sample."""
    with Tracker(tmp_path, 0) as tracker:
        for step in range(4):
            tracker.log(step, {}, [{"answer": text}])
    cut(tmp_path / SAMPLES, 3)
    assert lines(tmp_path / SAMPLES) == [{"step": s, "answer": text} for s in range(3)]


def test_an_undefined_figure_is_left_out(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0) as tracker:
        tracker.log(0, {"value/explained_variance": float("nan"), "ratio": float("inf"), "loss": 1.0}, [])
    assert lines(tmp_path / METRICS) == [{"step": 0, "loss": 1.0}]


def test_no_file_no_lines(tmp_path: Path) -> None:
    cut(tmp_path / METRICS, 3)
    assert read_metrics(tmp_path) == [] and not list(tmp_path.iterdir())
