"""The reference pages say what the code does: algorithm details, metrics, recipe fields, the lab's dials."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from assent.config.blocks import Block
from assent.config.recipe import TOP
from assent.config.steps import KINDS, GrpoConfig, PpoConfig, RlooConfig, StepConfig
from assent.lab.prompts import WEIGHTS
from assent.lab.raters import Dials
from assent.steps.summary import METRICS
from test_docs import ROOT, fill_docs, name

SOURCE = ROOT / "src/assent"
ALGORITHMS = sorted(ROOT.glob("docs/algorithms/*.md"))
each_algorithm = pytest.mark.parametrize("page", ALGORITHMS, ids=name)


@each_algorithm
def test_details_are_numbered_and_point_at_files(page: Path) -> None:
    body = page.read_text(encoding="utf-8").split("## Implementation details")[1].split("\n## ")[0]
    items = re.split(r"^(?=\d+\. )", body, flags=re.MULTILINE)[1:]
    assert [int(item.split(".")[0]) for item in items] == list(range(1, len(items) + 1))
    assert all("`src/" in item or "`tests/" in item for item in items)
    assert "## What we left out" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "kind", "least"), [("ppo", PpoConfig, 13), ("grpo", GrpoConfig, 14), ("rloo", RlooConfig, 10)]
)
def test_trl_table_states_our_defaults(page: str, kind: type[StepConfig], least: int) -> None:
    text = (ROOT / f"docs/algorithms/{page}.md").read_text(encoding="utf-8")
    table = text.split("| our default |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table.strip().splitlines()[1:]]
    assert len(rows) >= least
    for *_, ours, default in rows:
        for key in re.findall(r"`([\w.]+)`", ours):
            value: object = kind.model_construct()
            for part in key.split("."):
                value = getattr(value, part)
            stated = yaml.safe_load(default)
            assert value == (float(stated) if isinstance(value, float) else stated), key


# Metrics

EMIT = {
    "methods/figures.py": (
        "rollout_figures",
        "_kl_figures",
        "reward_figures",
        "group_figures",
        "critic_figures",
        "update_figures",
        "value_figures",
    ),
    "methods/rollout.py": ("agreement",),
    "methods/sft.py": ("observe", "loss"),
    "methods/reward.py": ("observe", "loss"),
    "methods/online.py": ("note",),
    "methods/dpo.py": ("observe",),
    "methods/preference.py": ("_figures", "_kl_figure"),
    "methods/online_dpo.py": ("_figures",),
    "methods/groups.py": ("_measure", "_resampled"),
    "train/loop.py": ("run", "_step", "update", "accumulate"),
    "train/tracking.py": ("log",),
    "rewards/total.py": ("figures",),
    "steps/online.py": ("probes",),
}
"""Where figures of metrics.jsonl get their names."""


def functions(path: Path, *names: str) -> list[ast.AST]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    assert {node.name for node in found} == set(names), f"{path} has changed: look where metrics get their names"
    return list(found)


def strings(key: ast.AST | None) -> Iterator[str]:
    """The texts a key expression can be; `{x}` of an f-string reads `<>`."""
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield key.value
    elif isinstance(key, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "<>" for part in key.values)  # type: ignore[misc]
    elif isinstance(key, ast.IfExp):
        yield from (*strings(key.body), *strings(key.orelse))


def keys(tree: ast.AST) -> set[str]:
    """String keys of dictionaries that are written in `tree`, or assigned to by subscript."""
    found: set[str] = set()
    for node in ast.walk(tree):
        written: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            written = list(node.keys)
        elif isinstance(node, ast.DictComp):
            written = [node.key]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            written = [node.slice]
        found |= {text for key in written for text in strings(key)}
    return found


def documented(*sections: str) -> set[str]:
    """First cells of the tables of sections of docs/metrics.md; placeholders read `<>`."""
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    chosen = [part for part in parts if part.startswith(sections)]
    assert len(chosen) >= len(sections)
    return {
        re.sub(r"<[^>]*>", "<>", key) for part in chosen for key in re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)
    }


def test_every_logged_metric_is_documented_and_no_other() -> None:
    emitted = {key for file, names in EMIT.items() for f in functions(SOURCE / file, *names) for key in keys(f)}
    assert len(emitted) > 35
    assert emitted == documented("Every step", "SFT", "Reward model\n", "DPO", "Online DPO", "GRPO", "PPO")


def test_every_figure_of_the_table_is_documented() -> None:
    table = ast.parse((SOURCE / "audits/table.py").read_text(encoding="utf-8"))
    assigned = [n for n in table.body if isinstance(n, (ast.Assign, ast.AnnAssign)) and "BEHAVIOUR" in ast.dump(n)]
    figures = keys(assigned[0]) | {key for f in functions(SOURCE / "audits/table.py", "row") for key in keys(f)}
    assert {"win_rate", "refuses_harmful"} <= figures
    assert figures | {"gold", "reward"} == documented("The table of models") == {metric.key for metric in METRICS}


def test_every_headline_is_documented() -> None:
    measured = {key for f in functions(SOURCE / "steps/measure.py", "measure", "disagreement") for key in keys(f)}
    assert measured == documented("The reward model beside")
    places = dict.fromkeys(KINDS, ("step",)) | {"collect": ("_headline",), "dpo": ("step", "_measure")}
    places["online"] = ("headline",)  # of ppo and grpo
    written = {
        key
        for kind, names in places.items()
        for f in functions(SOURCE / f"steps/{kind}.py", *names)
        for node in ast.walk(f)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
        for key in keys(node.value)
    }
    assert len(written) > 15
    assert written <= documented("Headline numbers")


# Fields


@pytest.mark.parametrize("file, part, make", [p[:3] for p in fill_docs.PARTS if p[3]], ids=lambda x: str(x)[:20])
def test_generated_parts_are_current(file: str, part: str, make) -> None:  # type: ignore[no-untyped-def]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert fill_docs.replaced(text, part, make()) == text, "run `make docs`"


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    assert set(TOP) <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    sections = dict(re.findall(r"^### (?:`(?=\w+`)|Block )(\w+)`?\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    models: dict[str, type[Block]] = {**KINDS, **{model.__name__: model for model in fill_docs.SHARED}}
    assert set(sections) == set(models)
    for title, model in models.items():
        for field in set(model.model_fields) - set(fill_docs.COMMON):
            assert re.search(rf"^\| `{field}` \| .+ \| .+ \| .+\.( |\|)", sections[title], re.MULTILINE), (
                f"{title}.{field}"
            )


def test_the_lab_is_documented() -> None:
    text = (ROOT / "docs/lab.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", text, re.MULTILINE))
    assert {key: str(value) for key, value in Dials().model_dump().items()}.items() <= rows.items()
    assert set(WEIGHTS) <= set(rows)
