"""The claims' runner: what is asked of which runs, what a failure does, and what the reduced evidence leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from assent.artifacts.store import Store
from assent.config.recipe import load
from assent.experiments import claims
from assent.experiments.check import Check
from assent.experiments.claims import RECIPES, Claim
from made_runs import small

ASKED: list[tuple[str, str | None]] = []


def each(store: Store) -> list[Check]:
    return [Check("each", store.root.name != "some-seed2", "1")]


def across(stores: Sequence[Store]) -> list[Check]:
    return [Check("across", None, str(len(stores)))]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claims whose runs are made up instead of trained."""

    def run(recipe, store: Store, until: str | None) -> int:  # type: ignore[no-untyped-def]
        ASKED.append((f"{store.root.name} {recipe.seed}", until))
        if not store.root.exists():
            small(store.root, recipe.seed)
        return 1

    made = [
        Claim(
            "some", "demo", (1, 2), each, across, until="audit", each_reduced=lambda store: [Check("less", True, "")]
        ),
        Claim("other", "demo", (7,), each, reduced=False),
    ]
    ASKED.clear()
    monkeypatch.setattr(claims, "claims", lambda data: iter(made))
    monkeypatch.setattr(claims.pipeline, "run", run)
    monkeypatch.setattr(
        claims.summary, "write", lambda store: (store.root / "summary.json").write_text('{"total_seconds": 2}')
    )


def found(folder: Path) -> dict[str, list[dict[str, object]]]:
    return {name: kept["checks"] for name, kept in json.loads((folder / "results.json").read_text()).items()}


def test_every_seed_is_asked_and_then_all_together(
    runner: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims.main(["--out", str(tmp_path)]) == 1, "seed 2 did not hold"
    assert ASKED == [("some-seed1 1", None), ("some-seed2 2", None), ("other 7", None)]
    kept = found(tmp_path)
    assert {name: [c["held"] for c in checks] for name, checks in kept.items()} == {
        "some-seed1": [True], "some-seed2": [False], "some": [None], "other": [True],
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "some-seed2: FAILED: each: 1" in said and "some: measured: across: 2" in said
    assert json.loads((tmp_path / "results.json").read_text())["some"]["seconds"] == 4


def test_the_reduced_evidence_runs_one_seed_up_to_its_last_step(runner: None, tmp_path: Path) -> None:
    assert claims.main(["--reduced", "--out", str(tmp_path)]) == 0
    assert ASKED == [("some-seed1 1", "audit")]
    assert [c["claim"] for c in found(tmp_path)["some-seed1"]] == ["less"]


def test_one_run_can_be_asked_for_and_others_results_stay(runner: None, tmp_path: Path) -> None:
    assert claims.main(["--only", "other", "--out", str(tmp_path)]) == 0
    assert claims.main(["--only", "some-seed1", "--out", str(tmp_path)]) == 0
    assert list(found(tmp_path)) == ["other", "some-seed1"], "what needs both seeds is not asked of one"


def demo(
    folder: Path, *, low: float = 0.58, floor: float = 0.11, contradicts: tuple[float, float] = (0.1, 0.2)
) -> Store:
    """A summary in which SFT contradicts 0.14 to 0.24 of the users who are right, and PPO as many as given."""
    names = ("disagrees_when_right", "refuses_harmful", "refuses_harmless")
    sft = dict.fromkeys(names, 0.2) | {f"{name}_interval": [0.14, 0.24] for name in names}
    ppo = {**sft, "disagrees_when_right_interval": contradicts, "win_rate_vs_sft": 0.6, "win_rate_interval": [low, 0.7]}
    reward = {"accuracy": 0.8, "accuracy_floor": 0.6, "floor_difference_interval": [floor, 0.3], "n": 100}
    (folder / "summary.json").write_text(json.dumps({"models": {"sft": sft, "ppo": ppo}, "reward_model": reward}))
    return Store(folder)


def test_the_demo_asks_for_both_effects_and_the_behaviour(tmp_path: Path) -> None:
    (claim,) = [claim for claim in claims.claims(tmp_path) if claim.name == "demo"]

    def held(**given: object) -> list[bool | None]:
        return [check.held for check in claim.each(demo(tmp_path, **given))]  # type: ignore[arg-type]

    assert held() == [True] * 5
    assert held(low=0.5) == [False, *[True] * 4]
    assert held(floor=0.0) == [True, False, *[True] * 3]
    assert held(contradicts=(0.33, 0.46)) == [True, True, False, True, True]


def test_every_claim_has_its_recipe_and_no_seed_that_was_tuned_on(tmp_path: Path) -> None:
    for claim in claims.claims(tmp_path):
        recipe = load(RECIPES / f"{claim.recipe}.yaml", list(claim.overrides))
        assert claim.until is None or claim.until in recipe.steps
        assert not {0, 1} & set(claim.seeds), claim.name
