"""The house rules of DESIGN.md, section 4: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "assent"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists())

MAY: dict[str, str] = {
    "core": "",
    "config": "",
    "artifacts": "",
    "stats": "",
    "formats": "",
    "report": "config artifacts stats",
    "ops": "",
    "losses": "ops",
    "advantages": "ops",
    "data": "formats ops",
    "models": "config ops",
    "engine": "ops data models",
    "rewards": "config data models engine",
    "serving": "config data models engine",
    "train": "config artifacts ops data models engine",
    "methods": "train losses advantages rewards engine models data ops config",
    "audits": "config stats data models engine rewards",
    "lab": "config stats",
    "feedback": "config stats formats",
    "web": "config artifacts stats feedback report formats",
    "steps": "*",
    "experiments": "steps audits lab stats report",
    "cli": "*",
}
"""Room -> rooms it may import. `core` is open to all but ops, losses and advantages; steps and cli see
everything but what comes after them."""
ALSO = {
    "engine": "config",  # how answers are drawn is a block of settings, not a list of arguments
    "audits": "ops",  # the KL estimators, so that no second formula of KL exists
    "experiments": "config artifacts train",  # a claim loads a recipe and reads what the run's steps left
    "cli": "experiments",  # `assent frontier`
}
"""What the table of the design does not list, and why it is right."""
WITHOUT_CORE = {"ops", "losses", "advantages"}
LAST = {"experiments", "cli"}

LIGHT = {"pydantic", "rich", "numpy"}
OUTSIDE: dict[str, set[str]] = {
    "core": LIGHT,
    "config": {"pydantic", "yaml"},
    "artifacts": {"pydantic"},
    "stats": {"numpy", "scipy"},
    "formats": {"pydantic", "datasets", "pyarrow", "huggingface_hub"},
    "report": {"pydantic", "numpy", "scipy", "matplotlib", "jinja2", "markupsafe", "rich", "yaml"},
    "ops": {"torch"},
    "losses": {"torch"},
    "advantages": {"torch"},
    "lab": {"pydantic", "numpy", "tokenizers", "transformers"},
    "feedback": {"pydantic", "numpy", "yaml", "sqlalchemy", "alembic", "argon2"},
    "web": {
        *("pydantic", "fastapi", "starlette", "jinja2", "markupsafe", "markdown_it", "nh3"),
        *("httpx", "prometheus_client", "yaml", "babel"),
    },
    "cli": {"typer", "rich", "torch", "uvicorn"},
}
"""Room -> packages it may import from outside; rooms that are not named may import any."""
NO_TORCH = {"core", "config", "artifacts", "stats", "formats", "report", "web", "feedback"}


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def may(room: str) -> set[str]:
    """Rooms that a room may import, `core` aside."""
    if MAY[room] == "*":
        return set(ROOMS) - LAST | set(ALSO.get(room, "").split())
    return {*MAY[room].split(), *ALSO.get(room, "").split()}


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it, as a dotted name; type-checking imports count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(path: Path) -> set[str]:
    """Rooms that a file imports, its own left out."""
    own = path.relative_to(SOURCE).parts[0]
    parts = [module.split(".") for module in imports(path)]
    return {part[1] for part in parts if part[0] == "assent" and len(part) > 1 and part[1] in ROOMS} - {own}


def test_every_room_has_its_rule() -> None:
    assert set(ROOMS) == set(MAY)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    allowed = may(room) | ({"core"} if room not in WITHOUT_CORE else set())
    wrong = {name(p): bad for p in (SOURCE / room).rglob("*.py") if (bad := rooms_of(p) - allowed)}
    assert not wrong


def test_the_table_has_no_circle() -> None:
    """Rooms can be put in an order in which each imports only earlier ones."""
    done: set[str] = set()
    while ready := {room for room in ROOMS if room not in done and may(room) - {room} <= done}:
        done |= ready
    assert done == set(ROOMS)


@pytest.mark.parametrize("room", sorted(OUTSIDE))
def test_rooms_import_only_the_packages_they_may(room: str) -> None:
    known = {"assent", *sys.stdlib_module_names}
    wrong = {
        name(p): bad
        for p in (SOURCE / room).rglob("*.py")
        if (bad := {module.split(".")[0] for module in imports(p)} - known - OUTSIDE[room])
    }
    assert not wrong


def test_torch_stays_out_of_the_light_rooms() -> None:
    """Whatever OUTSIDE says: these rooms run where torch is not installed."""
    heavy = {"torch", "transformers", "safetensors", "peft"}
    wrong = [
        name(p)
        for p in FILES
        if p.relative_to(SOURCE).parts[0] in NO_TORCH and heavy & {m.split(".")[0] for m in imports(p)}
    ]
    assert not wrong


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function, decorators and docstring included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield node.name, (node.end_lineno or 0) - first + 1


def test_no_file_is_longer_than_400_lines() -> None:
    assert not {name(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}


def test_no_function_is_longer_than_60_lines() -> None:
    assert not {f"{name(p)}: {f}": n for p in FILES for f, n in functions(p) if n > 60}


@pytest.mark.parametrize(("room", "most"), [("losses", 120), ("advantages", 120), ("methods", 200)])
def test_formulas_and_methods_stay_short(room: str, most: int) -> None:
    files = (SOURCE / room).glob("*.py")
    assert not {name(p): n for p in files if (n := len(p.read_text().splitlines())) > most}


def test_nothing_is_left_to_do() -> None:
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    pages = [*FILES, *SOURCE.rglob("*.yaml"), *(SOURCE.parent.parent / "docs").rglob("*.md")]
    assert not [str(p) for p in pages if word.search(p.read_text(encoding="utf-8"))]


def test_every_module_and_public_name_says_what_it_is() -> None:
    """A docstring for every module, public class and public function; a method may share its class's."""
    silent = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            silent.append(name(path))
        for node in tree.body:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                silent.append(f"{name(path)}: {node.name}")
    assert not silent


@pytest.mark.parametrize("room", ["losses", "advantages", "ops"])
def test_formulas_are_pure(room: str) -> None:
    """No class that acts, no configuration, no logging, no printing."""
    for path in (SOURCE / room).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not called & {"print", "open", "log"}, name(path)
        assert not {m.split(".")[0] for m in imports(path)} & {"logging", "warnings", "random", "os"}, name(path)
