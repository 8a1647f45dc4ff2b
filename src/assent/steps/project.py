"""`assent new`: a folder to start a project from, whole or not at all.

The texts lie in `assent/projects/`: what all goals share in `common/`, what differs in a folder a goal
(`goal.yaml` fills the `$names` of the shared files, `rules.md` the guideline's, rows are copied as they are).
"""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from string import Template

import yaml

from assent.config.recipe import suggest
from assent.core.console import out
from assent.core.errors import ConfigError
from assent.core.jsonl import write_atomic

GOALS = ("assistant", "tone", "harm", "polish")
FILES = {
    "README.md": "start here: the commands in order, what to change first, how to read the report",
    "recipe.yaml": "the steps and their settings, all explained; `model:` is the one to start from",
    "guideline.md": "the rules by which people choose between two answers",
    "prompts.jsonl": "what the model practises on and is measured on",
    "demonstrations.jsonl": "prompts with answers worth imitating",
    "pairs.jsonl": "prompts with a better and a worse answer, and the guideline's rule that decided",
}
"""Every file of a project, in the order a newcomer meets them, and what it is."""
SHARED = ("README.md", "recipe.yaml", "guideline.md")
TEXTS = Path(__file__).parent.parent / "projects"


def create(folder: Path, goal: str) -> None:
    """Write the project for `goal` into a new or empty `folder`, and print what was made and what comes next.

    Raises ConfigError for an unknown goal, a file or a folder with something in it, and a place that cannot
    be written; nothing is left behind then.
    """
    if goal not in GOALS:
        raise ConfigError(
            f"no project for `{goal}`{suggest(goal, GOALS)}", where="--for", fix=f"one of: {', '.join(GOALS)}"
        )
    made = contents(goal)
    try:
        _check_free(folder)
        _write(folder, made)
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror or error})",
            where=str(folder),
            fix="free some space, or give another folder; nothing was left behind",
        ) from None
    _tell(folder)


def contents(goal: str) -> dict[str, bytes]:
    """File name -> content, for a goal of `GOALS`."""
    words = yaml.safe_load((TEXTS / goal / "goal.yaml").read_text(encoding="utf-8"))
    words["goal"] = goal
    words["rules"] = (TEXTS / goal / "rules.md").read_text(encoding="utf-8").strip()
    words["files"] = "\n".join(f"| `{name}` | {what} |" for name, what in FILES.items())
    words["kl_why"] = "\n".join(f"      {line}" for line in words["kl_why"].splitlines())
    return {name: _filled(name, words) if name in SHARED else (TEXTS / goal / name).read_bytes() for name in FILES}


def _filled(name: str, words: dict[str, str]) -> bytes:
    """A shared text with its `$names` replaced; one without a value is an error of ours."""
    return Template((TEXTS / "common" / name).read_text(encoding="utf-8")).substitute(words).encode()


def _check_free(folder: Path) -> None:
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise ConfigError(
                "is a file, but a project needs a folder there", where=str(part), fix="give another folder"
            )
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            "is not empty, and nothing in it is overwritten",
            where=str(folder),
            fix="give a new or an empty folder",
        )


def _write(folder: Path, made: dict[str, bytes]) -> None:
    """All files into a hidden folder, which then takes the name; an empty folder they enter one by one."""
    exists = folder.is_dir()
    parents = [p for p in folder.parents if not p.exists()]
    building = (folder if exists else folder.parent) / f".assent-new-{os.getpid()}"
    try:
        for name, content in made.items():
            write_atomic(building / name, content)
        if not exists:
            building.rename(folder)
            return
        for name in made:
            (building / name).rename(folder / name)
        building.rmdir()
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        for name in made if exists else ():
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else may have put something into them meanwhile
            for parent in parents:
                parent.rmdir()
        raise


def _tell(folder: Path) -> None:
    """What was made, and the next command."""
    width = max(map(len, FILES))
    lines = [f"made {folder}:", *(f"  {name:<{width}}  {what}" for name, what in FILES.items()), "", "next:"]
    if folder.resolve() != Path.cwd():
        lines.append(f"  cd {shlex.quote(str(folder))}")
    lines.append("  assent run recipe.yaml --until reward")
    out.print("\n".join(lines), markup=False, soft_wrap=True)
