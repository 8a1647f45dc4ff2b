"""Every setting is documented, read by something, and refused where it contradicts another."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from assent.config.blocks import Block
from assent.config.recipe import Recipe
from assent.config.steps import (
    KINDS,
    AuditConfig,
    CollectConfig,
    CompareConfig,
    Kl,
    PpoConfig,
    Raters,
    RewardSource,
    StepConfig,
)

SOURCE = Path(__file__).parent.parent / "src" / "assent"


def block_of(field: FieldInfo) -> type[Block] | None:
    """The block a field holds, or a list of; None for a plain value."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Block):
            return kind
    return None


def fields(model: type[Block], trail: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a model and of the blocks in it, as a dotted path."""
    for name, field in model.model_fields.items():
        yield f"{trail}{name}", field
        if inner := block_of(field):
            yield from fields(inner, f"{trail}{name}.")


def owner(kind: str, path: str) -> tuple[type[Block] | None, str]:
    """The block that holds a field (None: the step itself), and the field's name in it."""
    *trail, name = path.split(".")
    model: type[Block] = KINDS[kind]
    for part in trail:
        inner = block_of(model.model_fields[part])
        assert inner is not None, path
        model = inner
    return (model if trail else None), name


def holders(block: type[Block]) -> list[str]:
    """Kinds of step that hold a block."""
    return [kind for kind, model in KINDS.items() if any(block_of(field) is block for _, field in fields(model))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_line_that_explains_it(kind: str) -> None:
    silent = []
    for path, field in fields(KINDS[kind]):
        inner = block_of(field)
        explained = field.description or (inner and inner.__doc__)
        if path != "kind" and not explained:  # `kind` is explained once, in StepConfig
            silent.append(path)
    assert not silent
    assert KINDS[kind].__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_at_most_40_settings(kind: str) -> None:
    """What all steps have is learnt once and counts as one; so does each block that stands in several kinds of step."""
    learnt, shared = [], set()
    for path, field in fields(KINDS[kind]):
        above = [owner(kind, path)[0], *(block_of(KINDS[kind].model_fields[p]) for p in path.split(".")[:1])]
        if path in StepConfig.model_fields or any(block and len(holders(block)) > 1 for block in above):
            shared.add(path.split(".")[0])
        elif not block_of(field):
            learnt.append(path)
    counted = len(learnt) + len(shared - {*StepConfig.model_fields}) + 1
    assert counted <= 40, f"{counted}: {sorted(learnt)}"


def test_the_count_of_settings_by_hand() -> None:
    """Of `compare` six and what all have; a block of PPO's own counts with all its fields."""
    assert [path for path, _ in fields(KINDS["compare"]) if "." not in path][-5:] == [
        "data", "prompts", "answers", "sampling", "token_budget",
    ]  # fmt: skip
    assert holders(Kl) == ["ppo"] and len(holders(RewardSource)) > 4


def attributes_read() -> set[str]:
    """Names that code outside `config` reads as an attribute."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "config"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # getattr(config, "guideline", None)
    return found


def test_every_setting_is_read_by_something() -> None:
    read = attributes_read()
    paths = {f"{kind}.{path}" for kind, model in KINDS.items() for path, _ in fields(model)}
    paths |= {f"recipe.{name}" for name in Recipe.model_fields}
    taken_by_config = {"recipe.format", "recipe.data", "recipe.model"}  # defaults handed to the steps
    assert not {p for p in paths if p.split(".")[-1] not in read} - taken_by_config


def test_a_setting_nobody_reads_would_be_noticed() -> None:
    assert "no_such_setting_anywhere" not in attributes_read()


@pytest.mark.parametrize(
    ("model", "given", "why"),
    [
        (PpoConfig, {}, "a reward is needed"),
        (PpoConfig, {"rewards": [{}]}, "exactly one of model, function, json_value"),
        (PpoConfig, {"rewards": [{"model": "m/x", "exact": {}}]}, "not model and exact"),
        (PpoConfig, {"prompts": 64, "minibatches": 3}, "multiple of minibatches"),
        (PpoConfig, {"prompts": 3, "answers": 2, "minibatches": 2}, "multiple of minibatches"),
        (PpoConfig, {"iterations": 5, "value": {"warmup": 5}}, "never learns"),
        (PpoConfig, {"dual_clip": 1.0}, "greater than 1"),
        (PpoConfig, {"gamma": 1.01}, "less than or equal to 1"),
        (PpoConfig, {"sampling": {"temperature": 0}}, "greater than 0"),
        (PpoConfig, {"kl": {"coef": -0.1}}, "greater than or equal to 0"),
        (PpoConfig, {"kl": {"coef": 0, "control": "adaptive"}}, "must not start at 0"),
        (PpoConfig, {"optimiser": {"lr": float("inf")}}, "finite"),
        (PpoConfig, {"optimiser": {"lr": float("nan")}}, "finite"),
        (CollectConfig, {"source": "file"}, "goes with `data: PATH`"),
        (CollectConfig, {"data": "pairs.jsonl"}, "goes with `data: PATH`"),
        (CollectConfig, {}, "sampled from a policy"),
        (Raters, {"count": 2, "per_group": 3}, "only 2"),
        (AuditConfig, {"from": {"a": "x"}}, "`reference: sft` is none of its inputs (a)"),
        (AuditConfig, {"from": {"judge": "rm"}, "reference": "judge"}, "none of its inputs (none)"),
        (
            CompareConfig,
            {"from": {"a": "x", "b": "y"}, "data": "prompts.jsonl"},
            "gold judges only `data: lab`",
        ),
    ],
)
def test_contradictions_are_refused(model: type[Block], given: dict[str, Any], why: str) -> None:
    if model is PpoConfig and given != {} and "rewards" not in given:
        given = {"from": {"policy": "sft", "reward": "rm"}, **given}
    with pytest.raises(ValidationError, match=re.escape(why)):
        model.model_validate(given)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (PpoConfig, {"prompts": 6, "answers": 5, "minibatches": 3}),
        (PpoConfig, {"kl": {"coef": 0}}),
        (PpoConfig, {"iterations": 6, "value": {"warmup": 5}}),
        (PpoConfig, {"value": {"clip": None}, "reward_clip": None, "early_stop_kl": None}),
    ],
)
def test_what_does_not_contradict_is_taken(model: type[Block], given: dict[str, Any]) -> None:
    assert model.model_validate({"from": {"policy": "sft", "reward": "rm"}, **given})


@pytest.mark.parametrize("answer", ["yes", "no"])
@pytest.mark.parametrize("name", ["epochs", "clip_low", "seed", "dual_clip", "reward_weight", "value"])
def test_yes_is_no_number(name: str, answer: str) -> None:
    """YAML reads yes as true, and Python counts true as 1."""
    with pytest.raises(ValidationError, match="yes or no"):
        PpoConfig.model_validate({"from": {"policy": "a", "reward": "b"}, name: answer == "yes"})


def test_a_switch_is_still_yes_or_no() -> None:
    assert PpoConfig.model_validate({"from": {"policy": "a", "reward": "b"}, "whiten": False}).whiten is False


def test_settings_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Kl().coef = 1.0  # type: ignore[misc]
    assert RewardSource(function="a:b").weight == 1.0
