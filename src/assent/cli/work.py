"""Commands that run recipes: demo, run, train, sweep, new."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from assent.core.console import log
from assent.core.errors import ConfigError

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default: runs/<name>.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (demo, run, train, sweep, new):
        app.command()(command)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of world, training and raters.")] = 0,
) -> None:
    """The whole loop on the embedded world, in a few minutes on two cores."""
    _run(builtin("demo"), [f"seed={seed}"], out, None)


def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe: recipes/*.yaml, or one that `assent new` wrote.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[step.key=value]...", help="Settings over the recipe's.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last step wanted.")] = None,
    out: Out = None,
) -> None:
    """Run a recipe's steps; finished ones are not run again, killed ones go on."""
    _run(recipe, overrides or [], out, until)


def train(
    model: Annotated[str, typer.Option("--model", help="Hugging Face folder or hub id to start from.")],
    pairs: Annotated[str, typer.Option("--pairs", help="Preference pairs: file, folder or hub id.")],
    method: Annotated[
        str,
        typer.Option(
            "--method", help="How the policy learns: ppo, grpo, rloo, online_dpo, dpo; none stops at the reward model."
        ),
    ] = "ppo",
    template: Annotated[
        str, typer.Option("--template", help="Chat template: tokenizer, plain, chatml or a Jinja file.")
    ] = "tokenizer",
    out: Annotated[Path, typer.Option("--out", help="Folder of the run and its recipe.")] = Path("runs/train"),
) -> None:
    """From a model and pairs to an aligned model: writes its recipe and runs it."""
    from assent.engine import ranks
    from assent.steps.oneliner import write

    _run(ranks.first(lambda: write(out, model, pairs, method, template)), [], out, None)


def sweep(recipe: Path, override: Annotated[str, typer.Argument(metavar="step.key=a,b,c")], out: Out = None) -> None:
    """Run a recipe once per value, each in its own folder."""
    key, equals, values = override.partition("=")
    if not equals or not values:
        raise ConfigError(f"`{override}` is no sweep", fix="write it as step.key=a,b,c")
    from assent.config.recipe import load

    root = out or Path("runs") / f"{recipe.stem}-sweep"
    settings = [f"{key}={value}" for value in re.split(r",(?![^\[{]*[\]}])", values)]  # a list's own commas stay
    for setting in settings:  # a bad value is found before the first one has run for an hour
        load(recipe, [setting])
    for setting in settings:
        log.rule(setting)
        _run(recipe, [setting], root / setting.replace("/", "_"), None)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    goal: Annotated[str, typer.Option("--for", help="assistant, tone, harm or polish.")] = "assistant",
) -> None:
    """A project to start from: recipe, prompts, demonstrations, guideline, README, all commented."""
    from assent.steps.project import create

    create(folder, goal)


def builtin(name: str) -> Path:
    """A recipe that ships with the package."""
    import assent

    return Path(assent.__file__).parent / "recipes" / f"{name}.yaml"


def _run(recipe: Path, overrides: list[str], out: Path | None, until: str | None) -> None:
    from assent.config.recipe import load

    loaded = load(recipe, overrides)
    from assent.artifacts.store import Store
    from assent.engine import ranks
    from assent.steps import pipeline, summary

    store = Store(out or Path("runs") / loaded.name)
    ran = pipeline.run(loaded, store, until)
    if not ranks.is_first():
        return
    summary.write(store)
    if not ran:
        log.print("nothing to do: every step was done before, with the same settings, inputs and seed")
    summary.show(store)
