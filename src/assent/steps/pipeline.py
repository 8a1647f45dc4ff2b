"""Run a recipe: each step whose reuse key is new, in an order in which inputs come first."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

from assent.artifacts import manifest as manifests
from assent.artifacts.manifest import Manifest, Parent
from assent.artifacts.store import Store
from assent.config.recipe import Recipe, suggest
from assent.config.steps import LAB, StepConfig
from assent.core.console import log
from assent.core.errors import ArtifactError, ConfigError, DataError
from assent.core.hashing import content_id, file_hash, tree_hash
from assent.formats.load import HUB_ID, KINDS
from assent.models.load import device
from assent.rewards.function import load_function, source_file
from assent.steps.context import Context
from assent.train import checkpoint

STEPS: dict[str, str] = {
    "pretrain": "assent.steps.pretrain",
    "sft": "assent.steps.sft",
    "collect": "assent.steps.collect",
    "reward": "assent.steps.reward",
    "ppo": "assent.steps.ppo",
    "audit": "assent.steps.audit",
    "compare": "assent.steps.compare",
}
"""Kind -> module with its `step(context, config) -> headline`."""


def run(recipe: Recipe, store: Store, until: str | None = None) -> int:
    """Run the recipe's steps into `store`; the number of steps that had to run.

    `until` names the last step wanted. Finished steps are not run again, killed ones go on from their
    checkpoint, and a folder that another recipe made is refused.
    """
    wanted = _wanted(recipe, until)
    for name in wanted:
        _check_sources(name, recipe.steps[name])
    threads = recipe.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    ran = 0
    with store.lock():
        for name in wanted:
            began = time.perf_counter()
            if not _run_step(recipe, store, name, threads):
                log.print(f"[dim]{name}: done before, nothing to do[/]")
                continue
            ran += 1
            log.print(f"[bold]{name}[/]: {escape(_figures(store, name))} [dim]({time.perf_counter() - began:.1f} s)[/]")
    return ran


def _wanted(recipe: Recipe, until: str | None) -> list[str]:
    if until is None:
        return list(recipe.steps)
    if until not in recipe.steps:
        raise ConfigError(f"no step `{until}`{suggest(until, recipe.steps)}", where="--until")
    needed: set[str] = set()

    def need(name: str) -> None:
        needed.add(name)
        for value in recipe.steps[name].inputs.values():
            for parent in [value] if isinstance(value, str) else value:
                need(parent)

    need(until)
    return [name for name in recipe.steps if name in needed]


def _run_step(recipe: Recipe, store: Store, name: str, threads: int) -> bool:
    """Run one step unless it is done; False when it was."""
    config = recipe.steps[name]
    seed = recipe.seed if config.seed is None else config.seed
    parents = _parents(store, config)
    resolved = config.model_dump(mode="json", by_alias=True)
    settings = {k: v for k, v in resolved.items() if k != "from"} | {"held_out": recipe.held_out, "world": recipe.seed}
    sources = _sources(config)
    key = manifests.reuse_key(config.kind, settings, parents, sources, seed)
    if not store.begin(
        name, key, {"config": resolved, "seed": seed, "held_out": recipe.held_out, "world": recipe.seed}
    ):
        store.verify(name)
        return False
    began = time.perf_counter()
    context = Context(
        name,
        config,
        seed,
        store.folder(name),
        {k: [store.folder(p.step) for p in group] for k, group in parents.items()},
        recipe.held_out,
        recipe.seed,
    )
    work: Callable[[Context, Any], dict[str, Any]] = importlib.import_module(STEPS[config.kind]).step
    headline = work(context, config)
    content, files = store.content(name)
    environment = manifests.environment() | {"threads": threads, "device": str(device()), "dtype": "float32"}
    manifests.write(
        store.folder(name),
        Manifest(
            step=name,
            kind=config.kind,
            key=key,
            content=content,
            parents=parents,
            sources=sources,
            seed=seed,
            seconds=round(time.perf_counter() - began, 3),
            headline=headline,
            files=files,
            environment=environment,
        ),
    )
    checkpoint.remove(store.folder(name))
    return True


def _parents(store: Store, config: StepConfig) -> dict[str, list[Parent]]:
    parents: dict[str, list[Parent]] = {}
    for name, value in config.inputs.items():
        for step in [value] if isinstance(value, str) else value:
            manifest = store.manifest(step)
            if manifest is None:
                raise ArtifactError(f"step `{step}` has not finished", where=str(store.folder(step)))
            parents.setdefault(name, []).append(Parent(step=step, content=manifest.content))
    return parents


def _check_sources(step: str, config: StepConfig) -> None:
    """Refuse a missing file or reward function now, not when hours of other steps are done."""
    data, guideline = getattr(config, "data", LAB), getattr(config, "guideline", None)
    hub = HUB_ID.fullmatch(data) and not data.endswith((*KINDS, ".gz"))
    if data != LAB and not hub and not Path(data).expanduser().exists():
        raise DataError(
            "no such file", where=f"{step}.data: {data}", fix="check the path; it is read from the current folder"
        )
    if guideline is not None and not Path(guideline).expanduser().is_file():
        raise DataError(
            "no such file",
            where=f"{step}.guideline: {guideline}",
            fix="check the path; it is read from the current folder",
        )
    for source in getattr(config, "rewards", []):
        if source.function is not None:
            load_function(source.function)


def _sources(config: StepConfig) -> dict[str, str]:
    """Content hashes of the files and folders a step reads from outside; a hub id stands for itself."""
    named = [getattr(config, field, None) for field in ("data", "model", "guideline", "template")]
    rewards = getattr(config, "rewards", [])
    named += [source.model for source in rewards]
    sources = {
        name: _digest(Path(name).expanduser()) or name for name in named if isinstance(name, str) and name != LAB
    }
    functions = [source.function for source in rewards if source.function is not None]
    return sources | {name: _digest(source_file(load_function(name))) or name for name in functions}


def _digest(path: Path | None) -> str | None:
    """Content hash of a file or folder; None where there is none."""
    if path is None or not path.exists():
        return None
    return content_id(tree_hash(path)) if path.is_dir() else file_hash(path)


def _figures(store: Store, name: str) -> str:
    """Headline numbers of a step in one line."""
    manifest = store.manifest(name)
    assert manifest is not None
    shown = []
    for key, value in manifest.headline.items():
        if isinstance(value, bool | int | float | str):
            shown.append(
                f"{key.replace('_', ' ')} {value:,.4g}"
                if isinstance(value, float)
                else f"{key.replace('_', ' ')} {value}"
            )
    return ", ".join(shown[:6]) or "finished"
