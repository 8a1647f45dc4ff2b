"""Run a recipe: each step whose reuse key is new, in an order in which inputs come first."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.markup import escape

from assent.artifacts import manifest as manifests
from assent.artifacts.manifest import Manifest, Parent
from assent.artifacts.store import Store
from assent.config.blocks import LAB, LAB_SUMS, StepConfig
from assent.config.recipe import Recipe, suggest
from assent.core.console import log
from assent.core.errors import ArtifactError, ConfigError, DataError
from assent.core.hashing import content_id, file_hash, tree_hash
from assent.engine import peak, precision, ranks, room
from assent.formats.load import HUB_ID, KINDS
from assent.formats.read import read_prompts
from assent.models.load import device
from assent.rewards import rules
from assent.rewards.function import load_function, source_file
from assent.steps.context import Context
from assent.train import checkpoint

STEPS: dict[str, str] = {
    "pretrain": "assent.steps.pretrain",
    "sft": "assent.steps.sft",
    "collect": "assent.steps.collect",
    "reward": "assent.steps.reward",
    "ppo": "assent.steps.ppo",
    "dpo": "assent.steps.dpo",
    "grpo": "assent.steps.grpo",
    "rloo": "assent.steps.rloo",
    "online_dpo": "assent.steps.online_dpo",
    "best_of": "assent.steps.best_of",
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
    threads = recipe.threads or max(1, (os.cpu_count() or 1) // ranks.here())
    torch.set_num_threads(threads)
    precision.use(recipe.precision)
    ran = 0
    with ExitStack() as held:
        ranks.first(lambda: held.enter_context(store.lock()))
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
    """Run one step unless it is done; False when it was. All ranks work, the first opens and closes the folder."""
    config = recipe.steps[name]
    opened = ranks.first(lambda: _open(recipe, store, name))
    if opened is None:
        return False
    began = time.perf_counter()
    context = Context(
        name,
        config,
        opened.seed,
        store.folder(name),
        {k: [store.folder(p.step) for p in group] for k, group in opened.parents.items()},
        recipe.held_out,
        recipe.seed,
    )
    work: Callable[[Context, Any], dict[str, Any]] = importlib.import_module(STEPS[config.kind]).step
    known = peak.forget(device())
    with _memory(name, config):
        headline = work(context, config)
    spent = {"seconds": round(time.perf_counter() - began, 3), "peak_memory": peak.held(device()) if known else None}
    ranks.first(lambda: _close(store, name, config.kind, opened, headline, spent, threads))
    return True


class _Opened(NamedTuple):
    """A step about to run: what goes into its manifest before it has begun."""

    key: str
    seed: int
    parents: dict[str, list[Parent]]
    sources: dict[str, str]


def _open(recipe: Recipe, store: Store, name: str) -> _Opened | None:
    """Open a step's folder; None, and its files verified, where it is done."""
    config = recipe.steps[name]
    seed = recipe.seed if config.seed is None else config.seed
    parents = _parents(store, config)
    resolved = config.model_dump(mode="json", by_alias=True)
    settings = _deciding(resolved) | {"held_out": recipe.held_out, "world": recipe.seed}
    if _dtype() != "float32":  # what bf16 made is not taken for what fp32 would make
        settings["products"] = _dtype()
    sources = _sources(config)
    key = manifests.reuse_key(config.kind, settings, parents, sources, seed)
    shown = {"config": resolved, "seed": seed, "held_out": recipe.held_out, "world": recipe.seed}
    if not store.begin(name, key, shown):
        store.verify(name)
        return None
    return _Opened(key, seed, parents, sources)


def _deciding(resolved: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide a step's result; what only bounds its memory may change while it is on its way."""
    free = ("from", "token_budget", "activation_checkpointing")
    return {k: _deciding(v) if k == "limits" else v for k, v in resolved.items() if k not in free}


def _dtype() -> str:
    """Format of matrix products in this process; weights are fp32."""
    return "bfloat16" if precision.half(device()) else "float32"


def _memory(name: str, config: StepConfig) -> AbstractContextManager[None]:
    """Running out of memory in a step is an error that names its settings."""
    limits = getattr(config, "limits", None)
    if limits is None:
        return room.refused(name, "token_budget", getattr(config, "token_budget", 0), False)
    return room.refused(name, "limits.token_budget", limits.token_budget, not limits.activation_checkpointing)


def _close(
    store: Store,
    name: str,
    kind: str,
    opened: _Opened,
    headline: dict[str, Any],
    spent: dict[str, Any],
    threads: int,
) -> None:
    """Write the manifest: the step is done. `spent`: seconds and peak of memory."""
    content, files = store.content(name)
    where = {"threads": threads, "ranks": ranks.size(), "device": str(device()), "dtype": _dtype()}
    manifests.write(
        store.folder(name),
        Manifest(
            step=name,
            kind=kind,
            content=content,
            headline=headline,
            files=files,
            environment=manifests.environment() | where,
            **spent,
            **opened._asdict(),
        ),
    )
    checkpoint.remove(store.folder(name))


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
    """Refuse a missing file, tag or reward function now, not when hours of other steps are done."""
    data, guideline = getattr(config, "data", LAB), getattr(config, "guideline", None)
    outside = data not in (LAB, LAB_SUMS)
    found = outside and Path(data).expanduser().exists()
    hub = HUB_ID.fullmatch(data) and not data.endswith((*KINDS, ".gz"))
    if outside and not found and not hub:
        raise DataError(
            "no such file", where=f"{step}.data: {data}", fix="check the path; it is read from the current folder"
        )
    if guideline is not None and not Path(guideline).expanduser().is_file():
        raise DataError(
            "no such file",
            where=f"{step}.guideline: {guideline}",
            fix="check the path; it is read from the current folder",
        )
    if getattr(config, "source", None) == "service":
        from assent.feedback.store import Store as Feedback

        Feedback.open(config.db).close()  # type: ignore[attr-defined]  # as the source says
    for source in getattr(config, "rewards", []):
        if source.function is not None:
            load_function(source.function)
        if source.exact is not None and found:
            rules.check([source], read_prompts(data), f"{step}.data: {data}")


def _sources(config: StepConfig) -> dict[str, str]:
    """Content hashes of the files and folders a step reads from outside; a hub id stands for itself."""
    named = [getattr(config, field, None) for field in ("data", "model", "guideline", "template")]
    rewards = getattr(config, "rewards", [])
    named += [source.model for source in rewards]
    outside = [name for name in named if isinstance(name, str) and name not in (LAB, LAB_SUMS)]
    sources = {name: _digest(Path(name).expanduser()) or name for name in outside}
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
