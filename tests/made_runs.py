"""Runs made up by hand: manifests, settings and an audit's figures, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assent.artifacts import manifest as manifests
from assent.artifacts.manifest import Manifest, Parent

AUDIT = {"data": "lab", "prompts": None, "answers": 2, "sampling": {"max_tokens": 24}, "reference": "sft"}


def figure(estimate: float, half: float = 0.1, n: int = 50) -> dict[str, Any]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half, "n": n, "rows": 2 * n}


def step(
    run: Path,
    name: str,
    kind: str | None = None,
    seed: int = 0,
    parents: dict[str, str] | None = None,
    seconds: float = 1.0,
    peak_memory: int | None = None,
    headline: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A finished step."""
    read = {key: [Parent(step=value, content=value)] for key, value in (parents or {}).items()}
    made = Manifest(
        step=name,
        kind=kind or name,
        key=name,
        content=name,
        parents=read,
        seed=seed,
        seconds=seconds,
        peak_memory=peak_memory,
        headline=headline or {},
    )
    folder = run / name
    (folder / "data").mkdir(parents=True)
    resolved = {
        "config": {"kind": kind or name, "from": parents or {}, "seed": None, **config},
        "seed": seed,
        "world": seed,
    }
    (folder / "resolved.json").write_text(json.dumps(resolved))
    manifests.write(folder, made)
    return folder


def audit(run: Path, models: dict[str, dict[str, Any]], seed: int = 0, judge: str = "gold", **settings: Any) -> Path:
    """An audit of steps that bear the models' names."""
    folder = step(run, "audit", seed=seed, parents={name: name for name in models}, **{**AUDIT, **settings})
    table = {"reference": "sft", "judge": judge, "models": models}
    (folder / "data" / "audit.json").write_text(json.dumps(table))
    return folder


def row(gold: float, win: float | None, kl: float, judge: str = "gold", half: float = 0.1) -> dict[str, Any]:
    """A model's figures."""
    return {judge: figure(gold, half), "win_rate": None if win is None else figure(win, half), "kl": figure(kl, half)}


def small(run: Path, seed: int = 0, gold: float = 0.6, coef: float = 0.05, half: float = 0.1) -> Path:
    """pretrain -> sft -> (collect -> reward -> ppo; collect -> dpo), audited: gold of PPO as given."""
    step(run, "pretrain", seed=seed, seconds=60)
    step(run, "sft", seed=seed, parents={"model": "pretrain"}, seconds=10)
    step(run, "collect", seed=seed, parents={"policy": "sft"}, seconds=5)
    step(run, "reward", seed=seed, parents={"policy": "sft", "judgments": "collect"}, seconds=8)
    read = {"policy": "sft", "reward": "reward"}
    step(run, "ppo", seed=seed, parents=read, seconds=20, peak_memory=300 * 2**20, kl={"coef": coef})
    read = {"policy": "sft", "judgments": "collect"}
    step(run, "dpo", seed=seed, parents=read, seconds=4, peak_memory=100 * 2**20, loss="dpo", beta=0.1)
    rows = {
        "pretrain": row(-0.5, 0.2, 9.0),
        "sft": row(0.2, None, 0.0),
        "ppo": row(gold, 0.7, 1.0, half=half),
        "dpo": row(0.4, 0.55, 2.0),
    }
    audit(run, rows, seed=seed)
    return run
