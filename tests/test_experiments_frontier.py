"""`assent frontier` on runs made up by hand: what is pooled, what is not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assent.core.errors import ArtifactError
from assent.experiments import methods
from assent.experiments.frontier import frontier
from assent.report.data import Number
from assent.report.frontier import Frontier, Point
from made_runs import audit, figure, row, small, step
from toy_run import assent


def point(found: Frontier, name: str) -> Point:
    (one,) = [p for p in found.points if p.name == name]
    return one


def test_one_run_by_hand(tmp_path: Path) -> None:
    found = frontier([small(tmp_path / "a")])
    assert (found.judge, found.reference, found.seeds) == ("gold", "sft", (0,))
    assert [p.name for p in found.points] == ["sft", "ppo", "dpo"], "what the reference was made from is left out"
    ppo, dpo, sft = (point(found, name) for name in ("ppo", "dpo", "sft"))
    assert (ppo.label, dpo.label, sft.label) == ("PPO, kl_coef 0.05", "DPO, beta 0.1", "SFT")
    assert ppo.worth == Number(value=0.6, low=0.5, high=0.7, n=50)
    assert (ppo.kl.value, ppo.win_rate.value, sft.win_rate.value) == (1.0, 0.7, None)
    assert (ppo.seconds, ppo.total_seconds) == (20, 33), "rankings 5, reward model 8; SFT is there anyway"
    assert (dpo.seconds, dpo.total_seconds) == (4, 9), "no reward model"
    assert (sft.seconds, sft.total_seconds) == (10, None), "it is where the others begin"
    assert (ppo.peak_memory, dpo.peak_memory) == (300 * 2**20, 100 * 2**20)


def test_seeds_are_pooled_by_hand(tmp_path: Path) -> None:
    """0.6 +- 0.3 and 0.4 +- 0.4: mean 0.5, half-width sqrt(0.09 + 0.16) / 2 = 0.25."""
    runs = [small(tmp_path / "a", 0, 0.6, half=0.3), small(tmp_path / "b", 1, 0.4, half=0.4)]
    ppo = point(frontier(runs), "ppo")
    assert (ppo.worth.value, ppo.worth.low, ppo.worth.high) == pytest.approx((0.5, 0.25, 0.75))
    assert ppo.worth_by_seed == {"0": 0.6, "1": 0.4}


def test_other_settings_are_other_points_even_above(tmp_path: Path) -> None:
    """A run with another kl_coef gives another PPO; one with another reward model, too; its DPO is the same."""
    runs = [small(tmp_path / "a", 0), small(tmp_path / "b", 1, coef=0.2), small(tmp_path / "c", 2)]
    resolved = json.loads((runs[2] / "reward/resolved.json").read_text())
    resolved["config"]["epochs"] = 3
    (runs[2] / "reward/resolved.json").write_text(json.dumps(resolved))
    found = frontier(runs)
    assert sorted(p.setting for p in found.points if p.family == "PPO") == [
        "kl_coef 0.05",
        "kl_coef 0.05",
        "kl_coef 0.2",
    ]
    assert len(point(found, "dpo").worth_by_seed) == 3


def test_a_run_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    run = small(tmp_path / "a")
    found = frontier([run, tmp_path / "b" / ".." / "a"])
    assert found.runs == ("a",) and point(found, "ppo").worth.high == pytest.approx(0.7)


def test_repetitions_in_one_world_do_not_shrink_the_interval(tmp_path: Path) -> None:
    found = frontier([small(tmp_path / "a", 0, 0.6), small(tmp_path / "b", 0, 0.4)])
    ppo = point(found, "ppo")
    assert (ppo.worth.value, ppo.worth.low) == pytest.approx((0.5, 0.4))
    assert any("not independent" in note for note in found.notes)


def best_of(run: Path, judge: str = "gold") -> None:
    read = {"policy": "sft", "reward": "reward"}
    folder = step(run, "best_of", parents=read, seconds=30, headline={"judge": judge}, answers=4)
    rows = [
        {"n": n, "proxy": 0.0, "proxy_interval": None, "judge": 0.3, "judge_interval": figure(0.3), "kl_bound": n / 10}
        for n in (1, 2, 4)
    ]
    (folder / "data/best_of.json").write_text(json.dumps(rows))


def test_best_of_n_stands_beside_what_was_trained(tmp_path: Path) -> None:
    run = small(tmp_path / "a")
    best_of(run)
    two, four = [p for p in frontier([run]).points if p.family == "best-of-n"]
    assert (two.setting, four.setting) == ("n 2", "n 4"), "n 1 is SFT itself"
    assert four.kl == Number(value=0.4), "a bound has no interval"
    assert (four.worth.value, four.seconds, four.total_seconds) == (0.3, None, 13)


def test_the_audits_own_best_of_n_comes_with_its_win_rate(tmp_path: Path) -> None:
    run = small(tmp_path / "a")
    best_of(run)
    table = json.loads((run / "audit/data/audit.json").read_text())
    table["models"]["sft best of 4"] = {**row(0.35, 0.6, 0.0), "kl": None, "kl_bound": figure(0.6363, 0.0)}
    (run / "audit/data/audit.json").write_text(json.dumps(table))
    manifest = json.loads((run / "audit/manifest.json").read_text())
    manifest["parents"]["reward"] = [{"step": "reward", "content": "reward"}]
    (run / "audit/manifest.json").write_text(json.dumps(manifest))
    resolved = json.loads((run / "audit/resolved.json").read_text())
    resolved["config"]["best_of"] = 4
    (run / "audit/resolved.json").write_text(json.dumps(resolved))
    two, four = [p for p in frontier([run]).points if p.family == "best-of-n"]
    assert (four.setting, four.worth.value, four.win_rate.value) == ("n 4", 0.35, 0.6)
    assert (four.kl, four.total_seconds) == (Number(value=0.6363), 13)
    assert two.setting == "n 2", "n 4 once, not twice"


def test_best_of_n_by_another_judge_is_left_out(tmp_path: Path) -> None:
    run = small(tmp_path / "a")
    best_of(run, judge="reward")
    assert all(p.family != "best-of-n" for p in frontier([run]).points)


def said(tmp_path: Path, *runs: Path) -> str:
    with pytest.raises(ArtifactError) as error:
        frontier(runs)
    assert error.value.fix
    return str(error.value)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    run = small(tmp_path / "a")
    assert "no such run" in said(tmp_path, run, tmp_path / "none")
    assert "is one step of a run" in said(tmp_path, run / "ppo")
    (tmp_path / "empty").mkdir()
    assert "no finished step" in said(tmp_path, tmp_path / "empty")
    step(tmp_path / "unmeasured", "sft")
    assert "no finished audit" in said(tmp_path, run, tmp_path / "unmeasured")


@pytest.mark.parametrize(("judge", "settings", "named"), [
    ("gold", {"answers": 4}, "answers: 4"),
    ("gold", {"data": "other.jsonl"}, "data: other.jsonl"),
    ("gold", {"sampling": {"max_tokens": 8}}, "max_tokens"),
    ("reward", {}, "judge: reward"),
])  # fmt: skip
def test_runs_that_were_measured_otherwise_are_refused(
    tmp_path: Path, judge: str, settings: dict[str, object], named: str
) -> None:
    other = tmp_path / "b"
    step(other, "sft")
    audit(other, {"sft": row(0.2, None, 0.0, judge)}, judge=judge, **settings)
    refused = said(tmp_path, small(tmp_path / "a"), other)
    assert named in refused and "but a with" in refused


def test_the_command_writes_picture_page_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = small(tmp_path / "a"), tmp_path / "out"
    assert assent("frontier", run, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "PPO, kl_coef 0.05" in shown and "0.60" in shown
    assert Frontier.model_validate_json((out / "frontier.json").read_text()) == frontier([run])
    assert "kl_coef 0.05" in (out / "frontier.html").read_text() and "<svg" in (out / "frontier.svg").read_text()


def test_the_command_refuses_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("frontier", tmp_path / "none", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "no such run" in error and "->" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


# The question asked of it: which methods beat SFT, at what cost.


def test_which_methods_beat_sft_by_hand(tmp_path: Path) -> None:
    """PPO 0.7 +- 0.1: yes. DPO 0.55 +- 0.1: no; 4 of PPO's 20 s, 9 of its 33 with what it needs."""
    run = small(tmp_path / "a")
    ppo, dpo = methods._answers(frontier([run]).points)
    assert ppo.held is None and "yes: 0.700 [0.600, 0.800]" in ppo.figures
    assert "no: 0.550 [0.450, 0.650]" in dpo.figures
    assert "4 s itself (0.20 of PPO's), 9 s with what it needs (0.27 of PPO's)" in dpo.figures


def test_seeds_are_counted_by_their_own_bounds(tmp_path: Path) -> None:
    """PPO wins 0.7 +- 0.1 on one seed and 0.7 +- 0.3 on the other: yes on 1 of 2, though the mean is above."""
    found = frontier([small(tmp_path / "a", 0), small(tmp_path / "b", 1, half=0.3)])
    ppo, _ = methods._answers(found.points)
    assert ppo.figures.startswith("yes on 1 of 2 seeds: 0.700 [0.542, 0.858]")
