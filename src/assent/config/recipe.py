"""The recipe: a DAG of named steps. Loading, overrides, and one clear message for each mistake."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.config.steps import GIVES, KINDS, LAB, LANGUAGE_MODELS, StepConfig
from assent.core.errors import ConfigError


class Recipe(BaseModel):
    """Named steps in an order in which each step's inputs come before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    name: str
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; default: one per core. Part of what makes a run bit-identical."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of matrix products: `auto` is bf16 on GPUs that have it and fp32 elsewhere. Weights stay in fp32. What was made
    in one is not taken for the other."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of subjects kept from every kind of training (the lab holds out half by itself)."""
    data: str | None = None
    """Default `data` of the steps that read some."""
    model: str | None = None
    """Default `model` of the steps that start from one."""
    steps: dict[str, StepConfig]


TOP = tuple(Recipe.model_fields)


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the first one would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{name}` stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file and apply `step.key=value` (or `seed=3`) overrides."""
    if path.is_dir():
        raise ConfigError("is a folder, but a recipe is a YAML file", where=str(path))
    if not path.exists():
        raise ConfigError("no such recipe", where=str(path), fix="`assent new DIR` writes one to start from")
    try:
        raw = _unshared(yaml.load(path.read_text(encoding="utf-8"), _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date that is none
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path)) from None
    return parse(raw, str(path), path.stem, overrides or [])


def _unshared(value: Any) -> Any:
    """A copy in which nothing stands twice: an anchor's block is one object wherever `*anchor` names it, and an
    override of one step would change them all."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def parse(raw: Any, where: str, name: str, overrides: list[str]) -> Recipe:
    """Check a recipe that was read from YAML; `where` and `name` are for messages and the run's folder."""
    if not isinstance(raw, dict) or not isinstance(raw.get("steps"), dict) or not raw["steps"]:
        raise ConfigError("a recipe is a mapping with at least one step under `steps:`", where=where)
    raw = {**raw, "steps": {k: dict(v or {}) for k, v in raw["steps"].items() if _is_step(k, v, where)}}
    for override in overrides:
        _apply(raw, override)
    for key in raw:
        if key not in TOP:
            raise ConfigError(f"unknown key `{key}`{suggest(key, TOP)}", where=where)
    given = {step: _defaults(value, raw, step) for step, value in raw["steps"].items()}
    steps = {step: _step(step, {**given[step], **value}, where) for step, value in raw["steps"].items()}
    try:
        recipe = Recipe.model_validate({"name": name, **raw, "steps": steps})
    except ValidationError as error:
        raise _explain(error, where, Recipe) from None
    ordered = _ordered(steps, where)
    _check_parents(ordered, where)
    _check_top(raw, steps, {key for taken in given.values() for key in taken}, where)
    return recipe.model_copy(update={"steps": ordered})


def _is_step(name: Any, value: Any, where: str) -> bool:
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
        raise ConfigError(f"`{name}` cannot name a step", where=where, fix="letters, digits, - and _ only")
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"step `{name}` must be a mapping, not {value!r}", where=where)
    return True


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one `a.b.c=value`; the value is read as YAML."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"`{override}` is not an override", fix="write it as step.key=value")
    target = raw
    if keys[0] in raw["steps"]:
        target = raw["steps"]
        if len(keys) == 1:
            raise ConfigError(f"`{override}`: `{keys[0]}` is a step", fix="write it as step.key=value")
    elif len(keys) > 1:
        raise ConfigError(f"`{override}`: no step `{keys[0]}`{suggest(keys[0], raw['steps'])}")
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise ConfigError(f"`{override}`: `{key}` holds a value, not a block")
    try:
        target[keys[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"`{override}`: the value is not valid YAML") from None


def _defaults(value: dict[str, Any], raw: dict[str, Any], name: str) -> dict[str, Any]:
    """What a step takes of the recipe's top-level `data` and `model`."""
    kind = KINDS.get(str(value.get("kind", name)))
    return {
        key: raw[key]
        for key in ("data", "model")
        if raw.get(key)
        and kind
        and key in kind.model_fields
        and key not in value
        and not (key == "model" and value.get("from"))
        and not (key == "data" and isinstance(value.get("from"), dict) and "demonstrations" in value["from"])
    }


def _step(name: str, value: dict[str, Any], where: str) -> StepConfig:
    kind = value.get("kind", name)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(
            f"step `{name}`: no such kind `{kind}`{suggest(str(kind), KINDS)}",
            where=where,
            fix=f"kinds: {', '.join(KINDS)}; a step of another name says `kind: ...`",
        )
    try:
        step = KINDS[kind].model_validate({**value, "kind": kind})
    except ValidationError as error:
        raise _explain(error, f"{where}: {name}", KINDS[kind]) from None
    allowed, any_name = step.INPUTS, "*" in step.INPUTS
    for given, named in step.inputs.items():
        if any_name and not given.isidentifier():
            raise ConfigError(
                f"`{given}` cannot name an input", where=f"{where}: {name}.from", fix="letters, digits and _ only"
            )
        if isinstance(named, list) and (given not in step.SEVERAL or not named):
            wanted = "one step or a list of them" if given in step.SEVERAL else "one step"
            raise ConfigError(f"input `{given}` takes {wanted}, not {named}", where=f"{where}: {name}.from")
        if given not in allowed and not any_name:
            raise ConfigError(
                f"unknown input `{given}`{suggest(given, allowed)}",
                where=f"{where}: {name}.from",
                fix=f"a `{kind}` step reads: {', '.join(allowed) or 'nothing'}",
            )
    for needed, required in allowed.items():
        if required and needed != "*" and needed not in step.inputs:
            raise ConfigError(
                f"input `{needed}` is missing", where=f"{where}: {name}.from", fix=f"write `from: {{{needed}: STEP}}`"
            )
    return step


def _explain(error: ValidationError, where: str, model: type[BaseModel]) -> ConfigError:
    """One message for the first problem: the key, its value, why, and a suggestion for a misspelt key."""
    # A misspelt key first: the key that it should have been is often missing as well.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    loc = [str(part) for part in first["loc"]]
    place = f"{where}.{'.'.join(loc)}" if loc else where
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key `{loc[-1]}`{suggest(loc[-1], _keys(model, loc[:-1]))}", where=place)
    shown = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    what = WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
    return ConfigError(what + shown, where=place)


WORDS = {
    "missing": "must be given",
    **dict.fromkeys(("model_type", "dict_type"), "must be a mapping of settings, as in {key: value}"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, as in [one, two]"),
}
"""pydantic's error -> what is wanted, in the words of YAML."""


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Names allowed in the block at `path` of a model."""
    for part in path:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        for inner in (annotation, *get_args(annotation)):  # `Adapter | None` and `list[RewardSource]` hold one
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def suggest(given: object, known: Any) -> str:
    """`; did you mean ...?` or nothing."""
    close = difflib.get_close_matches(str(given), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def parents_of(step: StepConfig) -> list[str]:
    """Names of the steps a step reads from."""
    return [parent for given in step.inputs for parent in _named(step, given)]


def _named(step: StepConfig, given: str) -> list[str]:
    """Names of the steps under one input."""
    value = step.inputs.get(given, [])
    return [value] if isinstance(value, str) else value


def _ordered(steps: dict[str, StepConfig], where: str) -> dict[str, StepConfig]:
    """Steps sorted so that inputs come first; unknown names and circles are refused."""
    done: dict[str, StepConfig] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise ConfigError(f"steps read from each other in a circle: {' -> '.join([*trail, name])}", where=where)
        if name in done:
            return
        for parent in parents_of(steps[name]):
            if parent not in steps:
                raise ConfigError(f"no step `{parent}`{suggest(parent, steps)}", where=f"{where}: {name}.from")
            visit(parent, (*trail, name))
        done[name] = steps[name]

    for name in steps:
        visit(name, ())
    return done


def _check_parents(steps: dict[str, StepConfig], where: str) -> None:
    """Refuse a step that is read for what it does not give, before anything has run."""
    for name, step in steps.items():
        for given, named in step.inputs.items():
            kinds = GIVES[given] if given in step.INPUTS and given in GIVES else LANGUAGE_MODELS
            for parent in [named] if isinstance(named, str) else named:
                if steps[parent].kind not in kinds:
                    raise ConfigError(
                        f"input `{given}` cannot be `{parent}`, a `{steps[parent].kind}` step",
                        where=f"{where}: {name}.from",
                        fix=f"name a step of kind {' or '.join(kinds)}",
                    )
        if step.kind == "collect" and (named := _named(step, "reward")) and not _is_ensemble(steps[named[0]]):
            raise ConfigError(
                "one reward model alone disagrees with nobody, so it orders nothing",
                where=f"{where}: {name}.from.reward",
                fix="leave it out, or write `ensemble: {}` in the reward step",
            )
        if "combine" in step.model_fields_set and not any(_is_ensemble(steps[p]) for p in _named(step, "reward")):
            raise ConfigError(
                "`combine` is not read without an ensemble under `from: {reward: STEP}`",
                where=f"{where}: {name}.combine",
                fix="leave it out, or write `ensemble: {}` in the reward step",
            )


def _is_ensemble(step: StepConfig) -> bool:
    return getattr(step, "ensemble", None) is not None


def _check_top(raw: dict[str, Any], steps: dict[str, StepConfig], taken: set[str], where: str) -> None:
    """Refuse a setting at the top that no step reads."""
    for key in ("data", "model"):
        if raw.get(key) and key not in taken:
            raise ConfigError(
                f"`{key}` at the top is not read: no step takes it", where=f"{where}.{key}", fix="leave it out"
            )
    files = any(getattr(step, "data", LAB) != LAB and step.kind != "pretrain" for step in steps.values())
    files |= any(getattr(step, "source", None) == "service" for step in steps.values())
    if "held_out" in raw and not files:
        raise ConfigError(
            "`held_out` is not read where all data is the lab's, which holds out half by itself",
            where=f"{where}.held_out",
            fix="leave it out",
        )
