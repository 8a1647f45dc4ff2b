"""`assent frontier`: finished runs as one picture of what each method is worth against how far it moved.

A point is a method at one setting. Runs whose recipes agree in everything but the seed are its repetitions: their
figures are averaged, runs of other worlds as independent (stats/pool.py). What is trained from is compared, not
names: two runs that call different settings `ppo` give two points.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.artifacts.manifest import Manifest
from assent.artifacts.store import RESOLVED, Store
from assent.config.steps import LAB
from assent.core.errors import ArtifactError
from assent.core.hashing import content_id
from assent.report.data import Number
from assent.report.frontier import Frontier, Point
from assent.stats.bootstrap import Interval
from assent.stats.pool import by_world
from assent.steps.audit import TABLE
from assent.steps.best_of import TABLE as BEST_OF

FAMILIES = {"sft": "SFT", "ppo": "PPO", "grpo": "GRPO", "rloo": "RLOO", "pretrain": "base model"}
LOSSES = {"dpo": "DPO", "cdpo": "cDPO", "robust": "robust DPO", "ipo": "IPO", "hinge": "hinge", "simpo": "SimPO"}
SAME = ("data", "prompts", "answers", "sampling", "reference")
"""Settings of the audits in which runs must agree."""


@dataclass(frozen=True)
class Run:
    """A finished run with an audit."""

    store: Store
    manifests: dict[str, Manifest]
    audit: Manifest
    settings: dict[str, Any]
    """The audit's own."""
    table: dict[str, Any]
    world: str
    """What its held-out subjects are drawn from: the seed in the lab, nothing elsewhere."""

    def resolved(self, step: str) -> dict[str, Any]:
        """A step's settings as they were used."""
        path = self.store.folder(step) / RESOLVED
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["config"]
        return found

    def step_of(self, model: str) -> str:
        """The step behind a name of the audit."""
        return self.audit.parents[model][0].step

    def behind(self, step: str) -> set[str]:
        """Steps that a step was made from, near and far."""
        near = {p.step for group in self.manifests[step].parents.values() for p in group} & self.manifests.keys()
        return near.union(*(self.behind(parent) for parent in near))


@dataclass(frozen=True)
class Found:
    """One method in one run."""

    key: str
    """What it was made by, seeds and names aside."""
    name: str
    family: str
    setting: str
    world: str
    seed: int
    figures: dict[str, Interval | None]
    """`kl`, `worth`, `win_rate`."""
    seconds: float | None
    total_seconds: float | None
    peak_memory: int | None


def frontier(roots: Sequence[Path]) -> Frontier:
    """The points of all runs; ArtifactError for a folder that is no run, has no audit, or was measured otherwise."""
    runs = [read(root) for root in dict.fromkeys(path.resolve() for path in roots)]
    _check_alike(runs)
    found: dict[str, list[Found]] = {}
    for run in runs:
        for one in (*_models(run), *_best_of(run)):
            found.setdefault(one.key, []).append(one)
    first = runs[0]
    return Frontier(
        judge=first.table["judge"],
        reference=first.table["reference"],
        runs=tuple(run.store.root.name for run in runs),
        seeds=tuple(sorted({run.audit.seed for run in runs})),
        points=tuple(_ordered([_point(group) for group in found.values()])),
        notes=_notes(runs),
    )


def read(root: Path) -> Run:
    """A run's manifests and its last audit."""
    if not root.is_dir():
        raise ArtifactError("no such run", where=str(root), fix="give folders named by --out, like runs/frontier-seed0")
    if (root / "manifest.json").exists():
        raise ArtifactError("is one step of a run", where=str(root), fix=f"give the run: {root.parent}")
    store = Store(root)
    manifests = store.finished()
    if not manifests:
        raise ArtifactError("holds no finished step", where=str(root), fix="run its recipe first")
    audits = [m for m in manifests if m.kind == "audit"]
    if not audits:
        raise ArtifactError(
            "has no finished audit, so nothing in it was measured",
            where=str(root),
            fix="add an `audit` step that names the models, and run the recipe again: finished steps are kept",
        )
    audit = audits[-1]
    table = json.loads((store.folder(audit.step) / "data" / TABLE).read_text(encoding="utf-8"))
    resolved = json.loads((store.folder(audit.step) / RESOLVED).read_text(encoding="utf-8"))
    world = str(resolved["world"]) if resolved["config"]["data"] == LAB else ""
    return Run(store, {m.step: m for m in manifests}, audit, resolved["config"], table, world)


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs whose figures mean different things."""
    first, *others = runs
    for run in others:
        mine = {key: run.settings.get(key) for key in SAME} | {"judge": run.table["judge"]}
        theirs = {key: first.settings.get(key) for key in SAME} | {"judge": first.table["judge"]}
        for key, value in mine.items():
            if value != theirs[key]:
                raise ArtifactError(
                    f"was audited with `{key}: {value}`, but {first.store.root.name} with `{key}: {theirs[key]}`",
                    where=str(run.store.root),
                    fix="draw runs together that were measured in the same way",
                )


def _models(run: Run) -> Iterator[Found]:
    """Every model of the audit but those that the reference was made from."""
    reference = run.step_of(run.table["reference"])
    before = run.behind(reference)
    for name, figures in run.table["models"].items():
        if name not in run.audit.parents:  # a row that is no model, like best-of-n from one
            continue
        step = run.step_of(name)
        if step in before:
            continue
        manifest = run.manifests[step]
        family, setting = _names(manifest, run.resolved(step))
        kept = {"kl": figures["kl"], "worth": figures[run.table["judge"]], "win_rate": figures["win_rate"]}
        extra = run.behind(step) - before - {reference}
        in_all = manifest.seconds + sum(run.manifests[other].seconds for other in extra)
        yield Found(
            key=_made_by(run, step),
            name=name,
            family=family,
            setting=setting,
            world=run.world,
            seed=run.audit.seed,
            figures={key: Interval(**value) if value else None for key, value in kept.items()},
            seconds=manifest.seconds,
            total_seconds=None if step == reference else in_all,
            peak_memory=manifest.peak_memory,
        )


def _names(manifest: Manifest, config: dict[str, Any]) -> tuple[str, str]:
    """Family and setting of a trained model."""
    kind = manifest.kind
    if kind in ("dpo", "online_dpo"):
        family = LOSSES.get(config["loss"], str(config["loss"]).upper())
        labels = "soft " if config.get("soft") else ""
        return f"{labels}online {family}" if kind == "online_dpo" else family, f"beta {config['beta']:g}"
    if kind == "sft" and "demonstrations" in manifest.parents:
        return "best-of-n, then SFT", ""
    family = FAMILIES.get(kind, kind)
    if kind == "grpo" and config.get("scale", "group") != "group":
        family += f", scale {config['scale']}"
    return family, f"kl_coef {config['kl']['coef']:g}" if "kl" in config else ""


def _made_by(run: Run, step: str) -> str:
    """Digest of a step's settings and of all it was made from, without seeds and steps' names."""
    own = {key: value for key, value in run.resolved(step).items() if key not in ("from", "seed")}
    parents = {
        name: [_made_by(run, parent.step) for parent in group] for name, group in run.manifests[step].parents.items()
    }
    return content_id(own, parents)


def _best_of(run: Run) -> Iterator[Found]:
    """Best-of-n from the reference: by the audit, and at every other n by the `best_of` steps its judge measured."""
    reference = run.step_of(run.table["reference"])
    done = 0
    if row := run.table["models"].get(f"{run.table['reference']} best of {run.settings.get('best_of')}"):
        done = int(run.settings["best_of"])
        yield _picked(run, run.step_of("reward"), done, row[run.table["judge"]], row["win_rate"], row["kl_bound"])
    for step, manifest in run.manifests.items():
        measured = manifest.kind == "best_of" and manifest.headline.get("judge") == run.table["judge"]
        if not measured or [p.step for p in manifest.parents["policy"]] != [reference]:
            continue
        for row in json.loads((run.store.folder(step) / "data" / BEST_OF).read_text(encoding="utf-8")):
            if row["n"] not in (1, done) and row["judge_interval"]:
                yield _picked(run, step, row["n"], row["judge_interval"], None, {"estimate": row["kl_bound"]})


def _picked(
    run: Run, by: str, n: int, worth: dict[str, Any], win_rate: dict[str, Any] | None, kl: dict[str, Any]
) -> Found:
    """Best-of-n as a method that trains nothing: its cost are the rankings and the reward model; its KL is the bound.

    `by`: the reward model, or the step that measured by one.
    """
    before = run.behind(reference := run.step_of(run.table["reference"])) | {reference}
    picker = {by} if run.manifests[by].kind == "reward" else set()
    bound = kl["estimate"]
    return Found(
        key=content_id(_made_by(run, by), n),
        name=f"{run.table['reference']} best of {n}",
        family="best-of-n",
        setting=f"n {n}",
        world=run.world,
        seed=run.audit.seed,
        figures={
            "kl": Interval(bound, bound, bound, n=0, rows=0),  # a formula: no interval
            "worth": Interval(**worth),
            "win_rate": Interval(**win_rate) if win_rate else None,
        },
        seconds=None,
        total_seconds=sum(run.manifests[other].seconds for other in (run.behind(by) | picker) - before),
        peak_memory=None,
    )


def _point(group: Sequence[Found]) -> Point:
    """The repetitions of one method as one point."""
    first = group[0]

    def pooled(key: str) -> Number:
        found = by_world((one.world, value) for one in group if (value := one.figures[key]))
        return Number(value=found.estimate) if found and not found.rows else Number.of(found)

    memory = [one.peak_memory for one in group if one.peak_memory is not None]
    return Point(
        name=first.name,
        family=first.family,
        setting=first.setting,
        kl=pooled("kl"),
        worth=pooled("worth"),
        win_rate=pooled("win_rate"),
        worth_by_seed={str(one.seed): v.estimate for one in group if (v := one.figures["worth"])},
        win_rate_by_seed={str(one.seed): Number.of(v) for one in group if (v := one.figures["win_rate"])},
        seconds=_mean([one.seconds for one in group]),
        total_seconds=_mean([one.total_seconds for one in group]),
        peak_memory=max(memory, default=None),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _ordered(points: list[Point]) -> list[Point]:
    """Families in the order of their first point, each by its KL."""
    families = list(dict.fromkeys(p.family for p in points))
    return sorted(points, key=lambda p: (families.index(p.family), p.kl.value or 0.0))


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
    worlds = {run.world for run in runs}
    notes = [
        f"{len(runs)} run{'s' if len(runs) > 1 else ''}. Repetitions are runs that differ in nothing but the seed; "
        "their figures are averaged. The interval is over subjects within these runs: it does not say what another "
        "seed would give. How far the seeds lie apart stands in the numbers file, by seed."
    ]
    if len(worlds) < len(runs):
        notes.append("Runs on the same held-out prompts are not independent: their intervals are averaged, not shrunk.")
    if runs[0].table["judge"] == "gold":
        notes.append("The embedded world is tiny: an order of methods here is no claim about large models.")
    else:
        notes.append("The judge is a reward model. One that training used flatters what was trained against it.")
    notes.append("Best-of-n pays its n answers again at every use; the others pay once.")
    return tuple(notes)
