"""Recipes: what loads, what overrides change, and one clear message for each mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from assent.config.recipe import load, parse, suggest
from assent.core.errors import ConfigError

RECIPES = sorted((Path(__file__).parent.parent / "src" / "assent" / "recipes").glob("*.yaml"))
LOOP: dict[str, Any] = {
    "steps": {
        "pretrain": {},
        "sft": {"from": {"model": "pretrain"}},
        "collect": {"from": {"policy": "sft"}},
        "reward": {"from": {"policy": "sft", "judgments": "collect"}},
        "ppo": {"from": {"policy": "sft", "reward": "reward"}},
    }
}


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def loop(*overrides: str, **steps: Any) -> Any:
    """The loop with settings of its steps, or further steps, read from a mapping."""
    merged = {**LOOP["steps"], **{k: {**LOOP["steps"].get(k, {}), **v} for k, v in steps.items()}}
    return parse({"steps": merged}, "r.yaml", "r", list(overrides))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_that_ships_loads(path: Path) -> None:
    assert load(path).name == path.stem


def test_steps_are_ordered_by_what_they_read_whatever_the_order_in_the_file() -> None:
    backwards = {"steps": dict(reversed(LOOP["steps"].items()))}
    assert list(parse(backwards, "r", "r", []).steps) == list(LOOP["steps"])


def test_name_of_the_file_is_the_name_of_the_run(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(LOOP))
    assert load(path).name == "r"
    assert load(path, ["name=other"]).name == "other"


def test_several_steps_of_one_kind() -> None:
    made = loop(
        tight={"kind": "ppo", "from": {"policy": "sft", "reward": ["reward", "second"]}},
        second={"kind": "reward", "from": {"policy": "sft", "judgments": "collect"}},
    )
    assert made.steps["tight"].kind == "ppo"
    assert list(made.steps).index("second") < list(made.steps).index("tight")


# Overrides


def test_overrides_reach_settings_of_any_depth() -> None:
    made = loop("ppo.kl.coef=0.2", "ppo.optimiser.lr=1e-4", "sft.epochs=7", "seed=3", "ppo.value.clip=null")
    assert made.steps["ppo"].kl.coef == 0.2
    assert made.steps["ppo"].optimiser.lr == 1e-4  # YAML reads 1e-4 as text
    assert made.steps["ppo"].optimiser.eps == 1e-5, "the rest of the block keeps the step's own defaults"
    assert (made.steps["sft"].epochs, made.seed, made.steps["ppo"].value.clip) == (7, 3, None)


def test_overrides_win_over_the_file_and_later_over_earlier() -> None:
    assert loop("sft.epochs=2", "sft.epochs=4", sft={"epochs": 9}).steps["sft"].epochs == 4


def test_an_override_may_hold_equals_signs_and_lists() -> None:
    made = loop("sft.template=a=b.jinja", "ppo.from.reward=[reward]")
    assert made.steps["sft"].template == "a=b.jinja"
    assert made.steps["ppo"].inputs["reward"] == ["reward"]


def test_recipes_default_data_and_model_reach_the_steps_that_name_none() -> None:
    raw = {
        "data": "d.jsonl",
        "model": "m/x",
        "steps": {
            "sft": {},
            "collect": {"source": "file", "data": "own.jsonl"},
            "reward": {"from": {"policy": "sft", "judgments": "collect"}},
        },
    }
    made = parse(raw, "r", "r", [])
    assert (made.steps["sft"].data, made.steps["sft"].model) == ("d.jsonl", "m/x")
    assert made.steps["collect"].data == "own.jsonl"
    assert made.steps["reward"].model is None, "a step that starts from another step takes no model beside it"
    assert parse(raw, "r", "r", ["data=e.jsonl"]).steps["sft"].data == "e.jsonl"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("epochs", "is not an override"),
        ("sft.epochs", "is not an override"),
        (".epochs=3", "is not an override"),
        ("sft=3", "`sft` is a step"),
        ("stf.epochs=3", "no step `stf`; did you mean `sft`?"),
        ("sft.epoch=3", "unknown key `epoch`; did you mean `epochs`?"),
        ("sft.epochs.x=3", "holds a value, not a block"),
        ("sft.epochs=[", "not valid YAML"),
        ("sede=3", "unknown key `sede`; did you mean `seed`?"),
        ("sft.epochs=many", "got 'many'"),
        ("format=2", "Input should be 1"),
        ("held_out=1", "less than 1"),
    ],
)
def test_bad_overrides(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        loop(override, sft={"epochs": 2})


# Settings that nothing would read


MEMBERS = {"ensemble": {"members": 2}}


def test_combine_goes_with_an_ensemble_among_the_reward_models() -> None:
    with pytest.raises(ConfigError, match=r"(?s)`combine` is not read without an ensemble.*`ensemble: \{\}`") as error:
        loop("ppo.combine.how=min")
    assert "ppo.combine" in str(error.value)
    assert loop("ppo.combine.how=min", reward=MEMBERS).steps["ppo"].combine.how == "min"
    second = {"kind": "reward", "from": LOOP["steps"]["reward"]["from"], **MEMBERS}
    both = {"from": {"policy": "sft", "reward": ["reward", "second"]}}
    assert loop("ppo.combine.how=min", second=second, ppo=both)


@pytest.mark.parametrize(("key", "value"), [("data", "d.jsonl"), ("model", "m/x"), ("held_out", 0.2)])
def test_a_setting_at_the_top_that_no_step_takes(key: str, value: Any) -> None:
    steps = {"pretrain": {"data": "t.jsonl"}, "sft": {"from": {"model": "pretrain"}, "data": "lab"}}
    if key == "model":
        steps["pretrain"] = {"model": {}}
    with pytest.raises(ConfigError, match=f"`{key}` .*not read"):
        parse({key: value, "steps": steps}, "r", "r", [])
    with pytest.raises(ConfigError, match=f"`{key}` .*not read"):
        parse({"steps": steps}, "r", "r", [f"{key}={value}"])


def test_the_share_held_out_goes_with_data_that_is_not_the_labs() -> None:
    for data in ("d.jsonl", "lab:sums"):
        assert parse({"held_out": 0.2, "steps": {"sft": {"model": "m/x", "data": data}}}, "r", "r", []).held_out == 0.2


def test_demonstrations_of_a_step_stand_for_the_data_at_the_top() -> None:
    steps = {
        "sft": {"model": "m/x"},
        "best": {"kind": "best_of", "from": {"policy": "sft"}, "rewards": [{"length": {"target": 9}}]},
        "again": {"kind": "sft", "from": {"model": "sft", "demonstrations": "best"}},
    }
    made = parse({"data": "d.jsonl", "steps": steps}, "r", "r", [])
    assert made.steps["best"].data == "d.jsonl" and made.steps["again"].data == "lab"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["ppo.kl.estimator=k3"], "r.yaml: ppo.kl: `estimator` is not read with `place: reward`"),
        (["ppo.kl.estimator=k3", "ppo.kl.place=loss"], None),
        (["ppo.kl.place=loss", "ppo.kl.estimator=k3"], None),
        (["ppo.value.trunk=shared"], None),
        (["ppo.value.trunk=shared", "ppo.value.init=policy"], "ppo.value: `init` is not read with `trunk: shared`"),
        (["ppo.kl.coef=0"], None),
        (["collect.source=file", "collect.data=d.jsonl", "collect.from={}"], None),
        (["collect.source=file", "collect.data=d.jsonl"], "`from` is not read with `source: file`"),
        (["collect.answers=3", "collect.source=file", "collect.data=d.jsonl"], "`answers` is not read"),
    ],
)
def test_overrides_are_held_to_the_same(overrides: list[str], why: str | None) -> None:
    if why is None:
        assert loop(*overrides)
    else:
        with pytest.raises(ConfigError, match=re.escape(why)):
            loop(*overrides)


# Mistakes in the file


@pytest.mark.parametrize(
    ("steps", "where", "why"),
    [
        ({"sft": {"epoch": 1}}, "sft.epoch", "unknown key `epoch`; did you mean `epochs`?"),
        ({"ppo": {"kl": {"coeff": 1}}}, "ppo.kl.coeff", "unknown key `coeff`; did you mean `coef`?"),
        ({"sft": {"epochs": "three"}}, "sft.epochs", "(got 'three')"),
        ({"sft": {"epochs": 1.5}}, "sft.epochs", "(got 1.5)"),
        ({"sft": {"epochs": 0}}, "sft.epochs", "greater than or equal to 1 (got 0)"),
        ({"sft": {"epochs": True}}, "sft.epochs", "yes or no"),
        ({"sft": {"limits": {"too_long": "cut"}}}, "sft.limits.too_long", "'error' or 'drop'"),
        ({"sft": {"from": "pretrain"}}, "sft.from", "must be a mapping of settings"),
        ({"ppo": {"kl": 0.1}}, "ppo.kl", "must be a mapping of settings, as in {key: value} (got 0.1)"),
        ({"ppo": {"adapter": {"targets": "q_proj"}}}, "ppo.adapter.targets", "must be a list, as in [one, two]"),
        ({"ppo": {"adapter": {"ranks": 4}}}, "ppo.adapter.ranks", "unknown key `ranks`; did you mean `rank`?"),
        ({"ppo": {"rewards": [{"lenght": {}}]}}, "ppo.rewards.0.lenght", "did you mean `length`?"),
        ({"ppo": {"rewards": [{"length": {"traget": 3}}]}}, "rewards.0.length.traget", "did you mean `target`?"),
        ({"ppo": {"optimiser": {"beta2": 1}}}, "ppo.optimiser.beta2", "less than 1 (got 1)"),
        ({"sft": {"from": {"policy": "pretrain"}}}, "sft.from", "unknown input `policy`"),
        ({"ppo": {"from": {"reward": "reward"}}}, "ppo.from", "input `policy` is missing"),
        ({"ppo": {"from": {"policy": "sf", "reward": "reward"}}}, "ppo", "no step `sf`; did you mean `sft`?"),
        ({"ppo": {"from": {"policy": ["sft"], "reward": "reward"}}}, "ppo", "takes one step, not ['sft']"),
        ({"ppo": {"from": {"policy": "sft", "reward": []}}}, "ppo", "one step or a list of them, not []"),
        ({"ppo": {"from": {"policy": "reward", "reward": "reward"}}}, "ppo", "`reward`, a `reward` step"),
        ({"ppo": {"from": {"policy": "sft", "reward": "collect"}}}, "ppo", "`collect`, a `collect` step"),
        ({"reward": {"from": {"policy": "sft", "judgments": "sft"}}}, "reward.from", "cannot be `sft`"),
        ({"reward": {"from": {"policy": "sft", "judgments": ["collect"]}}}, "reward", "takes one step"),
        ({"audit": {"from": {"sft": "collect"}}}, "audit.from", "cannot be `collect`"),
        ({"audit": {"from": {"sft": "sft", "../x": "ppo"}}}, "audit.from", "`../x` cannot name an input"),
        ({"rl": {}}, "r.yaml", "no such kind `rl`"),
        ({"extra": {"kind": "pp"}}, "r.yaml", "no such kind `pp`; did you mean `ppo`?"),
        ({"extra": {"kind": ["ppo"]}}, "r.yaml", "no such kind"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key_and_what_would_be_right(steps: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        loop(**steps)
    assert why in str(error.value)
    assert where in str(error.value)


def test_steps_that_read_each_other() -> None:
    steps = {one: {"kind": "sft", "from": {"model": other}} for one, other in ("ab", "ba")}
    with pytest.raises(ConfigError, match="circle: a -> b -> a"):
        parse({"steps": steps}, "r", "r", [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least one step"),
        ("steps: {}", "at least one step"),
        ("steps: [sft]", "at least one step"),
        ("- sft", "at least one step"),
        ("steps: {sft: 3}", "step `sft` must be a mapping, not 3"),
        ("steps: {'a b': {}}", "cannot name a step"),
        ("steps: {../sft: {}}", "cannot name a step"),
        ("steps: {1: {}}", "cannot name a step"),
        ("steps: {sft: {}}\n1: 2", "unknown key `1`"),
        ("steps: {sft: {}}\nsed: 2", "unknown key `sed`; did you mean `seed`?"),
        ("steps: {sft: {model: a/b}}\nseed: x", "seed: "),
        ("steps: {sft: {}\n", "not valid YAML"),
        ("steps: &s {sft: *s}", "not valid YAML"),
        ("steps: {sft: {data: 2001-99-99}}", "not valid YAML"),
        ("steps:\n  sft: {}\n  sft: {}\n", "key `sft` stands twice"),
        ("steps: {sft: {}}\nformat: 2", "format"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str, why: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(why)) as error:
        load(path)
    assert str(path) in str(error.value)


def test_an_override_changes_one_step_of_those_that_share_an_anchor(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "steps:\n"
        "  sft: {model: a/b}\n"
        "  a: &a {kind: grpo, from: {policy: sft}, rewards: [{exact: {}}], kl: &kl {coef: 0.1}}\n"
        "  b: {<<: *a, prompts: 8}\n"
        "  c: {kind: grpo, from: {policy: sft}, rewards: [{length: {target: 3}}], kl: *kl}\n",
    )
    steps = load(path, ["a.kl.coef=0.5", "c.from.policy=b"]).steps
    assert [steps[name].kl.coef for name in "abc"] == [0.5, 0.1, 0.1]
    assert [steps[name].inputs["policy"] for name in "abc"] == ["sft", "sft", "b"]


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "latin.yaml")


def test_anchors_may_be_shared_and_overridden(tmp_path: Path) -> None:
    """A key that stands twice is refused, a merge key with an override beside it is not."""
    text = """
steps:
  pretrain: &base {documents: 10, steps: 5}
  second: {<<: *base, kind: pretrain, steps: 9}
"""
    steps = load(write(tmp_path, text)).steps
    assert (steps["second"].documents, steps["second"].steps, steps["pretrain"].steps) == (10, 9, 5)  # type: ignore[attr-defined]


def test_suggestions_only_where_something_is_close() -> None:
    assert suggest("epohcs", ["epochs", "batch"]) == "; did you mean `epochs`?"
    assert suggest("zzz", ["epochs", "batch"]) == ""
