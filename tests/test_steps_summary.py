"""What a run says about itself: the figures of summary.json, and verdicts that name failures beside wins."""

from __future__ import annotations

from typing import Any

import pytest

from assent.artifacts.lineage import Node
from assent.artifacts.manifest import Manifest, Parent
from assent.report.data import Series
from assent.report.plots import LINES
from assent.steps.overview import COSTS, _costs, _shared, _verdicts, headline_facts, leaves
from assent.steps.summary import summary, table


def figure(estimate: float, width: float = 0.05, n: int = 40) -> dict[str, Any]:
    return {"estimate": estimate, "low": estimate - width, "high": estimate + width, "n": n, "rows": n}


def audit(**ppo: Any) -> dict[str, Any]:
    """An audit of sft and ppo, whose figures are those of sft unless given."""
    sft = {"gold": figure(0.2), "win_rate": None, **{name: figure(0.5) for name in COSTS}}
    return {"reference": "sft", "judge": "gold", "step": "audit",
            "models": {"sft": sft, "ppo": {**sft, "win_rate": figure(0.7), **ppo}}}  # fmt: skip


def manifest(
    step: str, kind: str | None = None, seconds: float = 1.0, parents: tuple[str, ...] = (), **headline: Any
) -> Manifest:
    read = {f"in{i}": [Parent(step=p, content="c")] for i, p in enumerate(parents)}
    return Manifest(
        step=step,
        kind=kind or step,
        key="k",
        content="c",
        parents=read,
        seed=0,
        seconds=seconds,
        headline=headline,
    )


def said(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(v.status, v.text) for v in _verdicts(table(found), found, [])]


@pytest.mark.parametrize(
    ("win", "status", "word"),
    [
        (figure(0.7), "good", "beats"),
        (figure(0.52), "unclear", "is not told apart from"),
        (figure(0.3), "bad", "loses to"),
    ],
)
def test_a_win_is_claimed_only_where_its_interval_says_so(win: dict[str, Any], status: str, word: str) -> None:
    assert said(audit(win_rate=win))[0] == (status, f"ppo {word} sft.")


def test_a_reference_that_beats_its_own_base_model_is_good_news() -> None:
    found = audit()
    found["models"]["base"] = {"win_rate": figure(0.2)}
    parents = {name: [Parent(step=name, content="c")] for name in ("base", "sft", "ppo")}
    made = [manifest("base", "pretrain"), manifest("sft", parents=("base",)), manifest("ppo", parents=("sft",)),
            manifest("audit").model_copy(update={"parents": parents})]  # fmt: skip
    spoken = [(v.status, v.text) for v in _verdicts(table(found), found, made)]
    assert ("good", "sft beats base.") in spoken
    assert ("good", "ppo beats sft.") in spoken


def test_a_clean_win_comes_without_costs() -> None:
    assert len(said(audit())) == 1


@pytest.mark.parametrize("name", COSTS)
def test_each_failure_is_named_beside_the_win(name: str) -> None:
    bad = 0.9 if COSTS[name][0] == "high" else 0.1
    assert [status for status, _ in said(audit(**{name: figure(bad)}))] == ["good", "bad"]
    good = 1.0 - bad
    assert len(said(audit(**{name: figure(good)}))) == 1, "a change for the better is no cost"
    assert len(said(audit(**{name: figure(0.5 + (bad - 0.5) / 8)}))) == 1, "overlapping intervals tell nothing"


def test_a_figure_that_is_missing_is_no_failure() -> None:
    found = audit(diversity=None)["models"]
    assert _costs("ppo", found["ppo"], "sft", found["sft"]) == []


def test_the_reward_model_is_judged_against_its_floor() -> None:
    for interval, status in (([0.1, 0.2], "good"), ([-0.1, 0.1], "unclear"), ([-0.3, -0.1], "bad")):
        made = manifest("reward", accuracy=0.7, accuracy_floor=0.6, floor_difference_interval=interval, n=50)
        (verdict,) = _verdicts(None, None, [made])
        assert verdict.status == status
        assert ("does not" in verdict.text) == (status != "good")
    unmeasured = manifest("reward", accuracy=None, accuracy_floor=None, floor_difference_interval=None, n=0)
    assert _verdicts(None, None, [unmeasured]) == []


def test_summary_by_hand() -> None:
    made = [
        manifest("sft", seconds=1.25).model_copy(update={"peak_memory": 2**20}),
        manifest("reward", seconds=2.0, accuracy=0.7, accuracy_floor=0.6, n=50),
    ]
    found = summary(made, audit(gold=None))
    assert (found["seconds"], found["total_seconds"]) == ({"sft": 1.25, "reward": 2.0}, 3.25)
    assert found["peak_memory"] == {"sft": 2**20, "reward": None}
    assert found["reward_model"]["accuracy"] == 0.7 and found["reward_model"]["n"] == 50
    ppo, sft = found["models"]["ppo"], found["models"]["sft"]
    assert (ppo["win_rate_vs_sft"], ppo["win_rate_interval"]) == (0.7, [0.7 - 0.05, 0.7 + 0.05])
    assert (ppo["gold"], ppo["gold_interval"], ppo["n"]["gold"]) == (None, None, 0)
    assert (sft["win_rate_vs_sft"], sft["n"]["win_rate_vs_sft"], sft["n"]["gold"]) == (None, 0, 40)


def test_the_table_names_the_reference_it_compares_with() -> None:
    found = audit()
    found["reference"] = "old"
    found["models"]["old"] = found["models"].pop("sft")
    made = table(found)
    assert made and [m.label for m in made.metrics if m.key == "win_rate"] == ["win rate against old"]
    assert {m.key for m in made.metrics} == {"gold", "win_rate", *COSTS}, "no row without a figure"
    assert table(None) is None


def test_too_few_prompts_for_any_figure_make_no_table() -> None:
    """Not one without rows."""
    found = audit()
    found["models"] = {name: dict.fromkeys(figures) for name, figures in found["models"].items()}
    assert table(found) is None


def test_lineage_starts_at_models_that_nothing_was_trained_from() -> None:
    made = [
        manifest("sft"),
        manifest("reward", parents=("sft",)),
        manifest("a", "ppo", parents=("sft", "reward")),
        manifest("b", "ppo", parents=("sft",)),
        manifest("audit", parents=("sft", "a", "b")),
    ]
    assert [m.step for m in leaves(made)] == ["a", "b"]
    assert [m.step for m in leaves(made[:1])] == ["sft"]
    assert [m.step for m in leaves([made[0], made[4]])] == ["sft"], "an audit trains nothing"


def test_headlines_are_rounded_in_lists_too_and_leave_out_what_is_missing() -> None:
    headline = {
        "member_accuracy": [0.48717948717948717, 0.5], "n": 7, "kl": None, "kl_interval": [0.1, 0.2], "raters": [],
    }  # fmt: skip
    node = Node("reward", "reward", "c", 1.0, headline, {})
    assert headline_facts(node) == {"member accuracy": "0.4872, 0.5", "n": "7"}


def test_no_panel_has_more_lines_than_there_are_colours() -> None:
    """Two lines of one colour could not be told apart; the two of a step stay together."""
    lines = [Series(name=f"{s} {w}", xs=(0, 1), ys=(0, 1)) for s in "abcdefg" for w in ("chosen", "rejected")]
    panels = _shared("Log-probs", lines, "", 2)
    assert [p.title for p in panels] == ["Log-probs (1 of 3)", "Log-probs (2 of 3)", "Log-probs (3 of 3)"]
    assert [line for p in panels for line in p.series] == lines
    assert all(len(p.series) <= len(LINES) and p.series[0].name.endswith("chosen") for p in panels)
    assert [p.title for p in _shared("KL", lines[:6], "", 1)] == ["KL"]
