"""The recipe: a DAG of named steps. Loading, overrides, and one clear message for each mistake."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.config.steps import GIVES, KINDS, LANGUAGE_MODELS, StepConfig
from assent.core.errors import ConfigError


class Recipe(BaseModel):
    """Named steps in an order in which each step's inputs come before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    name: str
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; default: one per core. Part of what makes a run bit-identical."""
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
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path)) from None
    return parse(raw, str(path), path.stem, overrides or [])


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
    steps = {step: _step(step, _defaults(value, raw, step), where) for step, value in raw["steps"].items()}
    try:
        recipe = Recipe.model_validate({"name": name, **raw, "steps": steps})
    except ValidationError as error:
        raise _explain(error, where, Recipe) from None
    ordered = _ordered(steps, where)
    _check_parents(ordered, where)
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
    except yaml.YAMLError:
        raise ConfigError(f"`{override}`: the value is not valid YAML") from None


def _defaults(value: dict[str, Any], raw: dict[str, Any], name: str) -> dict[str, Any]:
    """A step's own settings over the recipe's top-level `data` and `model`."""
    kind = KINDS.get(str(value.get("kind", name)))
    given: dict[str, Any] = {
        key: raw[key]
        for key in ("data", "model")
        if raw.get(key)
        and kind
        and key in kind.model_fields
        and key not in value
        and not (key == "model" and value.get("from"))
    }
    return {**given, **value}


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
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    place = f"{where}.{'.'.join(loc)}" if loc else where
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key `{loc[-1]}`{suggest(loc[-1], _keys(model, loc[:-1]))}", where=place)
    shown = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    return ConfigError(first["msg"].removeprefix("Value error, ") + shown, where=place)


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Names allowed in the block at `path` of a model."""
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def suggest(given: object, known: Any) -> str:
    """`; did you mean ...?` or nothing."""
    close = difflib.get_close_matches(str(given), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def parents_of(step: StepConfig) -> list[str]:
    """Names of the steps a step reads from."""
    return [p for value in step.inputs.values() for p in ([value] if isinstance(value, str) else value)]


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
