"""The documentation is true: commands parse, links resolve, recipes load, what is named exists."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

from assent.cli.main import app
from assent.config.recipe import load, parse

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/assent"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _fill_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_docs", ROOT / "scripts/fill_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill_docs = _fill_docs()
each_page = pytest.mark.parametrize("page", PAGES, ids=name)


# Commands


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield body


def command_lines(page: Path) -> Iterator[str]:
    """Every `assent ...` line of a code block, fenced or indented, without pipes and redirections."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"^\s*(\$ )?assent \S", line):
            yield re.split(r"\s[|>]|&&|;", line.strip().removeprefix("$ "))[0]


def check_command(line: str) -> None:
    """Parse with the real command line, without running anything; a recipe of ours is loaded too."""
    words = shlex.split(line, comments=True)[1:]
    group = typer.main.get_command(app)
    if words == ["--help"]:
        return
    context = group.commands[words[0]].make_context(words[0], words[1:])  # type: ignore[attr-defined]
    recipe = ROOT / str(context.params.get("recipe"))
    if "overrides" in context.params and recipe.is_file():
        loaded = load(recipe, context.params["overrides"] or [])
        assert context.params["until"] in (None, *loaded.steps)
    if "override" in context.params and recipe.is_file():
        key, _, values = context.params["override"].partition("=")
        for value in values.split(","):
            load(recipe, [f"{key}={value}"])


@each_page
def test_commands_parse(page: Path) -> None:
    for line in command_lines(page):
        check_command(line)


def test_commands_are_found_and_wrong_ones_are_seen(tmp_path: Path) -> None:
    assert sum(len(list(command_lines(page))) for page in PAGES) > 20
    for wrong in (
        "assent demo --sede 1",
        "assent fly",
        "assent compare one",
        "assent run recipes/demo.yaml ppo.kl.ceof=1",
    ):
        with pytest.raises(Exception, match=r"(?s).+"):
            check_command(wrong)


@each_page
def test_named_commands_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(re.findall(r"`assent (\w[\w-]*)", text)) <= set(commands)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^ *)make (\w+)(?:`|$| +ARGS| {2})", text, re.MULTILINE)) <= set(targets)


# Links, files, code blocks


def anchors(page: Path) -> set[str]:
    """The anchors GitHub gives a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {target} has no such heading"


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, _, test in re.findall(r"`((?:src|tests|docs|recipes|scripts)/[\w./-]+\w)(::(\w+))?`", text):
        assert (ROOT / path).exists(), f"{name(page)} names {path}"
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
    for thing, path in re.findall(r"`(\w+)`\s+in\s+`(src/[^`]+\.py)`", text):
        assert re.search(rf"^\s*(def|class) {thing}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), thing


@each_page
def test_code_blocks_are_sound(page: Path) -> None:
    for body in blocks(page, "yaml"):
        parse(yaml.safe_load(body), name(page), "block", [])
    for body in blocks(page, "python"):
        compile(body, name(page), "exec")


def test_find_your_way_covers_every_formula() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Find your way")[1].split("\n## ")[0]
    named = set(re.findall(r"`(src/[^`]+)`", table))
    formulas = [*SOURCE.glob("losses/*.py"), *SOURCE.glob("methods/ppo.py"), SOURCE / "advantages/gae.py"]
    assert {name(p) for p in formulas if p.name != "__init__.py"} <= named


# The filler itself


def test_figures_of_a_run_are_written_as_they_are(tmp_path: Path) -> None:
    sft = {
        "gold": 0.25,
        "gold_interval": [0.2, 0.3],
        "win_rate_vs_sft": None,
        "win_rate_interval": None,
        "n": {"gold": 40, "win_rate_vs_sft": 0},
    }
    ppo = {
        "gold": -0.5,
        "gold_interval": [-0.6, -0.4],
        "win_rate_vs_sft": 0.125,
        "win_rate_interval": [0.1, 0.15],
        "n": {"gold": 40, "win_rate_vs_sft": 38},
    }
    reward = {"accuracy": 0.75, "accuracy_floor": 0.625, "floor_difference_interval": [0.05, 0.2], "n": 512}
    summary = {
        "seconds": {"sft": 61.0},
        "total_seconds": 61.0,
        "models": {"sft": sft, "ppo": ppo},
        "reward_model": reward,
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "sft").mkdir()
    manifest = {"step": "sft", "seed": 3, "environment": {"threads": 2}, "headline": {"dropped": 17}}
    (tmp_path / "sft/manifest.json").write_text(json.dumps(manifest))
    text = fill_docs.run_figures(tmp_path)
    assert "| gold score ↑ | 0.250 (0.200 to 0.300) | −0.500 (−0.600 to −0.400) | 40 |" in text
    assert "| win rate against sft ↑ | – | 12.5 % (10.0 to 15.0 %) | 38 |" in text
    assert "Seed 3; 1 min 01 s with 2 CPU threads (sft 1 min 01 s)" in text
    assert "0.750 of 512 held-out pairs; surface floor 0.625; difference +0.050 to +0.200" in text
    assert "left out: sft 17." in text
    assert fill_docs.run_figures(tmp_path / "none") is None


def test_only_what_stands_between_the_markers_changes(tmp_path: Path) -> None:
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb <!-- y:begin -->\n"
    assert fill_docs.replaced(text, "x", "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="markers of `y`"):
        fill_docs.replaced(text, "y", "new")
    log = tmp_path / "test.log"
    log.write_text("....\n12 passed, 1 skipped in 3.45s\n")
    assert fill_docs.tests_line(log) == "```text\n12 passed, 1 skipped in 3.45s\n```"
    log.write_text("1 failed in 3s\n")
    assert fill_docs.tests_line(log) is None
