"""What a run ends with: summary.json, report.html, and the table in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assent.artifacts.manifest import Manifest
from assent.artifacts.store import Store
from assent.core.console import log, out
from assent.core.jsonl import write_json
from assent.report import html
from assent.report.console import model_tables
from assent.report.data import Metric, ModelTable, Number
from assent.steps.overview import report

SUMMARY, REPORT = "summary.json", "report.html"

METRICS = (
    Metric(key="gold", label="gold score", help="worth of an answer by the world's own rubric", better="high"),
    Metric(
        key="reward", label="reward", help="score by the reward model, or by the rewards the audit lists", better="high"
    ),
    Metric(key="win_rate", label="win rate against reference", unit="percent", better="high", help="ties count half"),
    Metric(key="kl", label="KL to reference", help="nats per answer, k1 on the model's own samples"),
    Metric(key="kl_bound", label="KL to reference, at most", help="nats per answer, bound for best-of-n"),
    Metric(key="mean_length", label="mean length", unit="count", help="tokens"),
    Metric(key="truncated", label="never stops", unit="percent", better="low"),
    Metric(key="correct_facts", label="facts correct", unit="percent", better="high"),
    Metric(key="agrees_when_wrong", label="agrees when the user is wrong", unit="percent", better="low"),
    Metric(key="disagrees_when_right", label="disagrees when the user is right", unit="percent", better="low"),
    Metric(key="admits_unknown", label="admits what nobody knows", unit="percent", better="high"),
    Metric(key="refuses_harmful", label="refuses harmful", unit="percent", better="high"),
    Metric(key="refuses_harmless", label="refuses harmless", unit="percent", better="low"),
    Metric(key="diversity", label="diversity", unit="percent", help="two answers to one prompt that differ"),
)


def write(store: Store) -> None:
    """Write summary.json and report.html from what the run's finished steps left."""
    manifests = store.finished()
    if not manifests:
        return
    audit = _audit(store, manifests)
    write_json(store.root / SUMMARY, summary(manifests, audit))
    html.write(store.root / REPORT, report(store, manifests, table(audit), audit))


def show(store: Store) -> None:
    """Print the table and where to look."""
    if found := table(_audit(store, store.finished())):
        for block in model_tables(found):
            out.print(block)
    if (store.root / REPORT).exists():
        log.print(f"report: {store.root / REPORT}")
        log.print(f"numbers: {store.root / SUMMARY}")


def summary(manifests: list[Manifest], audit: dict[str, Any] | None) -> dict[str, Any]:
    """The run in numbers, each with its n."""
    seconds = {m.step: m.seconds for m in manifests}
    reward = next((m.headline for m in manifests if m.kind == "reward"), None)
    kept = ("accuracy", "accuracy_interval", "accuracy_floor", "floor_difference_interval", "n", "n_subjects")
    return {
        "format": 1,
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 3),
        "peak_memory": {m.step: m.peak_memory for m in manifests},
        "models": _models(audit) if audit else {},
        "reward_model": {k: reward.get(k) for k in kept} if reward else None,
    }


def _models(audit: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures by model. A figure's interval is `<figure>_interval`; its n (subjects) is under `n`."""
    reference = audit["reference"]
    names = {"win_rate": f"win_rate_vs_{reference}", "kl": f"kl_to_{reference}"}
    models: dict[str, dict[str, Any]] = {}
    for model, figures in audit["models"].items():
        row: dict[str, Any] = {}
        counts = {}
        for figure, value in figures.items():
            name = names.get(figure, figure)
            interval = "win_rate_interval" if figure == "win_rate" else f"{name}_interval"
            row[name] = value["estimate"] if value else None
            row[interval] = [value["low"], value["high"]] if value else None
            counts[name] = value["n"] if value else 0
        models[model] = {**row, "n": counts}
    return models


def table(audit: dict[str, Any] | None) -> ModelTable | None:
    """The audit's figures as the table that every reader sees."""
    if not audit:
        return None
    models = {
        name: {
            figure: Number(value=v["estimate"], low=v["low"], high=v["high"], n=v["n"])
            for figure, v in figures.items()
            if v
        }
        for name, figures in audit["models"].items()
    }
    used = {figure for row in models.values() for figure in row}
    if not used:  # too few prompts for any interval
        return None
    metrics = tuple(
        m.model_copy(update={"label": m.label.replace("reference", audit["reference"])})
        for m in METRICS
        if m.key in used
    )
    return ModelTable(metrics=metrics, models=models)


def _audit(store: Store, manifests: list[Manifest]) -> dict[str, Any] | None:
    """The last audit's table."""
    audits = [m for m in manifests if m.kind == "audit"]
    if not audits:
        return None
    path = Path(store.folder(audits[-1].step)) / "data" / "audit.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**found, "step": audits[-1].step}
