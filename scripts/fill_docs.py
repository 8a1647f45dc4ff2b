"""Fill the generated parts of README and docs: `make docs`.

A part stands between `<!-- name:begin -->` and `<!-- name:end -->`. Some are made from the code and must be
current (tests/test_docs.py); some from a finished run, and stay as they are while there is none.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from assent.config import blocks
from assent.config import steps as kinds
from assent.report.data import Number
from assent.report.frontier import Frontier, markdown
from assent.report.wording import MISSING, duration, interval, number
from assent.steps.summary import METRICS

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs"
IMAGES = ROOT / "docs" / "images"


def blocks_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every block of settings in a model, in the order of its fields, the blocks in a block after it."""
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind
                yield from blocks_of(kind)


COMMONEST = (blocks.Optimiser, blocks.Sampling, blocks.Limits, blocks.Adapter)
SHARED = tuple(dict.fromkeys([*COMMONEST, *(block for kind in kinds.KINDS.values() for block in blocks_of(kind))]))
"""Blocks of settings, each documented once; those that most steps have stand first."""
COMMON = ("kind", "inputs", "seed")
"""Fields every step has, documented by hand above the generated tables."""
ARROWS = {"high": " ↑", "low": " ↓", None: ""}


def replaced(text: str, name: str, body: str) -> str:
    """`text` with `body` between the markers of `name`; ValueError where they are missing."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"markers of `{name}` must stand in the text once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{body.strip()}\n{end}{rest.split(end)[1]}"


# The fields of a recipe, from the docstrings of the settings.


def recipe_fields() -> str:
    """Reference tables of every kind of step and every shared block."""
    parts = [_kind(name, model) for name, model in kinds.KINDS.items()]
    return "\n\n".join([*parts, *(_block(model) for model in SHARED)])


def _kind(name: str, model: type[kinds.StepConfig]) -> str:
    notes = {key: [] if needed else ["optional"] for key, needed in model.INPUTS.items() if key != "*"}
    for key in model.SEVERAL:
        notes[key].append("one or several")
    inputs = ", ".join(f"`{key}`" + (f" ({', '.join(n)})" if n else "") for key, n in notes.items())
    if "*" in model.INPUTS:
        inputs = f"any names, each a model; {inputs}"
    intro = f"### `{name}`\n\n{_line(model.__doc__)}\n\nReads under `from`: {inputs or 'nothing'}."
    return "\n\n".join([intro, _table(model), *_conditions(model)])


def _block(model: type[BaseModel]) -> str:
    intro = f"### Block {model.__name__}\n\n{_line(model.__doc__)}"
    return "\n\n".join([intro, _table(model), *_conditions(model)])


def _conditions(model: type[Any]) -> list[str]:
    """Which fields are refused when, from the rules that refuse them; the same condition said once."""
    found: dict[str, list[str]] = {}
    for name, (other, values) in model.NEEDS.items():
        wanted = " or ".join(f"`{other}: {_yaml(value)}`" for value in values)
        found.setdefault(f"Only with {wanted}", []).append(name)
    for name, given in getattr(model, "WITH", {}).items():
        found.setdefault(f"Only with `from: {{{given}: STEP}}`", []).append(name)
    for name, given in getattr(model, "INSTEAD", {}).items():
        found.setdefault(f"Not with `from: {{{given}: STEP}}`", []).append(name)
    if unread := sorted(getattr(model, "UNREAD", ())):
        found["Refused here, as nothing reads it"] = unread
    if not found:
        return []
    return [" ".join(f"{when}: {', '.join(f'`{name}`' for name in names)}." for when, names in found.items())]


def _table(model: type[BaseModel]) -> str:
    rows = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in COMMON:
            cells = (f"`{name}`", _type(field), _default(field), _meaning(field))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _type(field: FieldInfo) -> str:
    """What a value may be, in words."""
    text = _words(field.annotation)
    bounds = [f"≥ {m.ge:g}" for m in field.metadata if getattr(m, "ge", None) is not None]
    bounds += [f"> {m.gt:g}" for m in field.metadata if getattr(m, "gt", None) is not None]
    bounds += [f"≤ {m.le:g}" for m in field.metadata if getattr(m, "le", None) is not None]
    return ", ".join([text, *bounds])


def _words(kind: Any) -> str:
    simple = {str: "text", int: "integer", float: "number", bool: "true, false", type(None): "null"}
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#block-{kind.__name__.lower()})"
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (list, tuple):
        return f"list of {_words(args[0])}"
    if origin is dict:
        return "mapping"
    if args and isinstance(args[-1], FieldInfo):  # Annotated[float, Field(gt=0)] inside a union
        return _type(FieldInfo.from_annotation(kind))
    return " or ".join(_words(arg) for arg in args) if args else str(kind)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        usual = type(value).model_fields
        changed = {k: v for k, v in value if v != usual[k].get_default(call_default_factory=True)}
        return ", ".join(f"`{k}: {_yaml(v)}`" for k, v in changed.items()) or "the block's"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _meaning(field: FieldInfo) -> str:
    if field.description:
        return _line(field.description)
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return _line(inner.__doc__).partition(". ")[0].removesuffix(".") + "."
    raise ValueError(f"a field of type {inner} has no docstring")


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


# The embedded world.


def lab_kinds(seed: int = 0) -> str:
    """One prompt of each kind, and an answer in the kind's good style."""
    from assent.core.seeds import generator
    from assent.lab.answers import STYLES, write
    from assent.lab.prompts import WEIGHTS, prompts
    from assent.lab.world import build

    found = {prompt.tags["kind"]: prompt for prompt in reversed(prompts(build(seed), "train"))}
    rows = ["| kind | example | a good answer |", "|---|---|---|"]
    for kind in WEIGHTS:
        answer = write(found[kind], STYLES[kind][0], generator(seed, "docs"))
        rows.append(f"| `{kind}` | {found[kind].text} | {answer} |")
    return "\n".join(rows)


def lab_sizes(seed: int = 0) -> str:
    """Subjects and distinct prompts on both sides of the split, by kind."""
    from assent.lab.prompts import WEIGHTS, prompts
    from assent.lab.world import build

    world = build(seed)
    sides = {side: prompts(world, side) for side in ("train", "held_out")}
    total = sum(WEIGHTS.values())
    rows = [
        "| kind | share | training subjects | training prompts | held-out subjects | held-out prompts |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, weight in WEIGHTS.items():
        rows.append(f"| {kind} | {100 * weight / total:.0f} % | {_sizes(sides, kind)} |")
    rows.append(f"| together | | {_sizes(sides, None)} |")
    return "\n".join([f"World of seed {seed}:", "", *rows])


def _sizes(sides: dict[str, list[Any]], kind: str | None) -> str:
    cells = []
    for found in sides.values():
        some = [prompt for prompt in found if kind in (None, prompt.tags["kind"])]
        cells += [str(len({prompt.subject for prompt in some})), str(len(some))]
    return " | ".join(cells)


# Figures of finished runs.


def run_figures(run: Path) -> str | None:
    """Table of models, reward model, seconds and drops of a run; None where it has not finished."""
    path = run / "summary.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not found["models"]:
        return None
    lines = [model_table(found["models"]), "", _seconds(run, found)]
    if found["reward_model"] and found["reward_model"]["accuracy"] is not None:
        lines += ["", _reward(found["reward_model"])]
    return "\n".join([*lines, *_dropped(run)])


def model_table(models: dict[str, dict[str, Any]]) -> str:
    """Figures of summary.json as a Markdown table: figures as rows, models as columns."""
    rows = [["", *models, "n"], ["---", *["---:"] * (len(models) + 1)]]
    keys = {key for row in models.values() for key in row if key != "n" and not key.endswith("_interval")}
    for metric in METRICS:
        for key in sorted(k for k in keys if re.fullmatch(rf"{metric.key}(_(vs|to)_.+)?", k)):
            shown = {name: _number(row, key, metric.key) for name, row in models.items()}
            counts = sorted({n.n for n in shown.values() if n.n})
            if counts:
                label = metric.label.replace("reference", re.sub(r".*_(vs|to)_", "", key))
                cells = [_cell(n, metric.unit) for n in shown.values()]
                rows.append([label + ARROWS[metric.better], *cells, " to ".join(map(str, counts))])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _number(row: dict[str, Any], key: str, metric: str) -> Number:
    around = row.get("win_rate_interval" if metric == "win_rate" else f"{key}_interval") or (None, None)
    return Number(value=row.get(key), low=around[0], high=around[1], n=row["n"].get(key))


def _cell(shown: Number, unit: Any) -> str:
    value = number(shown.value, unit)
    return value if value == MISSING or shown.low is None else f"{value} ({interval(shown, unit)})"


def _seconds(run: Path, found: dict[str, Any]) -> str:
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.glob("*/manifest.json"))]
    seeds = sorted({str(m["seed"]) for m in manifests})
    machine = manifests[0]["environment"] if manifests else {}
    steps = ", ".join(f"{name} {duration(value)}" for name, value in found["seconds"].items())
    threads, total = machine.get("threads", "?"), duration(found["total_seconds"])
    return (
        f"Seed {', '.join(seeds)}; {total} with {threads} CPU thread{'' if threads == 1 else 's'} ({steps}). "
        "In brackets 95 % intervals by subject; n counts subjects."
    )


def _reward(block: dict[str, Any]) -> str:
    low, high = block["floor_difference_interval"] or (None, None)
    between = "not enough subjects for an interval" if low is None else f"{low:+.3f} to {high:+.3f}"
    return (
        f"Reward model: right on {block['accuracy']:.3f} of {block['n']} held-out pairs; surface floor "
        f"{block['accuracy_floor']:.3f}; difference {between}."
    )


def _dropped(run: Path) -> list[str]:
    counts: Counter[str] = Counter()
    for path in sorted(run.glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        counts[manifest["step"]] = manifest["headline"].get("dropped", 0)
    dropped = [f"{step} {count}" for step, count in counts.items() if count]
    return ["", f"Rows that did not fit and were left out: {', '.join(dropped)}."] if dropped else []


def tests_line(log: Path) -> str | None:
    """The last line of pytest in a log of `make test`."""
    if not log.exists():
        return None
    lines = [line.strip(" =") for line in log.read_text(encoding="utf-8").splitlines()]
    ends = [line for line in lines if re.search(r"\d+ passed.* in ", line)]
    return f"```text\n{ends[-1]}\n```" if ends else None


def frontier_table(folder: Path) -> str | None:
    """The table of `assent frontier`, and its picture, which goes beside the docs."""
    if not (folder / "frontier.json").exists():
        return None
    found = Frontier.model_validate_json((folder / "frontier.json").read_text(encoding="utf-8"))
    shutil.copyfile(folder / "frontier.svg", IMAGES / "frontier.svg")
    return f"![worth against KL](images/frontier.svg)\n\n{markdown(found)}"


def evidence(folder: Path, name: str) -> str | None:
    """Verdicts and figures of a claim over seeds, and of each seed."""
    path = folder / "results.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in found:
        return None
    lines = ["| | claim | held | figures |", "|---|---|---|---|"]
    for run, result in found.items():
        if run == name or run.startswith(f"{name}-seed"):
            for check in result["checks"]:
                held = {True: "yes", False: "**no**", None: "measured"}[check["held"]]
                where = "over seeds" if run == name else run.removeprefix(f"{name}-")
                lines.append(f"| {where} | {check['claim']} | {held} | {check['figures']} |")
    return "\n".join(lines)


PARTS: tuple[tuple[str, str, Callable[[], str | None], bool], ...] = (
    ("README.md", "demo", lambda: run_figures(RUNS / "demo"), False),
    ("README.md", "test", lambda: tests_line(RUNS / "test.log"), False),
    ("docs/hh.md", "hh", lambda: run_figures(RUNS / "hh"), False),
    ("docs/which-algorithm.md", "frontier", lambda: frontier_table(RUNS / "evidence/frontier"), False),
    ("docs/over-optimisation.md", "over-optimisation", lambda: evidence(RUNS / "evidence", "overoptimise"), False),
    ("docs/recipes.md", "fields", recipe_fields, True),
    ("docs/lab.md", "kinds", lab_kinds, True),
    ("docs/lab.md", "sizes", lab_sizes, True),
)
"""File, name of the part, what makes it, and whether it follows from the code alone."""


def main() -> int:
    """Fill every part whose source is there."""
    for file, name, make, _ in PARTS:
        body = make()
        if body is None:
            print(f"{file}: {name} left as it is, its run has not finished")
            continue
        path = ROOT / file
        old = path.read_text(encoding="utf-8")
        new = replaced(old, name, body)
        if new != old:
            path.write_text(new, encoding="utf-8")
        print(f"{file}: {name} {'filled' if new != old else 'current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
