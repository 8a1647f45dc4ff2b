"""Which of two models wins, prompt by prompt: as a step of a recipe, and as a command."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assent.artifacts.store import RESOLVED
from assent.audits.table import Subject, examine
from assent.config.steps import LAB, CompareConfig
from assent.core.errors import ConfigError
from assent.core.jsonl import write_json
from assent.core.protocols import Scorer
from assent.engine.generate import LocalGenerator
from assent.rewards.ensemble import load_scorer
from assent.stats.bootstrap import Interval, win_rate
from assent.steps.audit import fitting, judging, sampled
from assent.steps.context import Context, lab_world


def step(context: Context, config: CompareConfig) -> dict[str, Any]:
    """Win rate of `a` over `b` with its interval by subject; ties count half."""
    judge_name, judge, _ = judging(context, config)
    if judge is None:
        raise ConfigError(
            "has no judge",
            where=context.name,
            fix="give `from: {judge: STEP}` with a reward model, or `data: lab` for gold",
        )
    subjects = sampled(context, config, judge, ["a", "b"])
    found = _wins(subjects["a"], subjects["b"], context.seed_for("bootstrap"))
    result = {
        "judge": judge_name,
        "a": context.inputs["a"][0].name,
        "b": context.inputs["b"][0].name,
        "win_rate": asdict(found) if found else None,
    }
    write_json(context.data / "compare.json", result)
    if found is None:
        return {"judge": judge_name, "win_rate": None, "note": "not enough data"}
    return {
        "judge": judge_name,
        "win_rate": round(found.estimate, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "n": found.n,
    }


def head_to_head(
    a: LocalGenerator, b: LocalGenerator, source: str, judge: str | None, n: int, seed: int
) -> tuple[str, Interval | None, int]:
    """Name of the judge, win rate of `a` over `b`, number of prompts; `source` is `lab` or a dataset."""
    if source == LAB:
        from assent.lab.prompts import mix

        asked = mix(lab_world(_world_of(a.source)), "held_out", 800, seed)
    else:
        from assent.formats.read import read_prompts

        asked = read_prompts(source)
    asked = fitting(asked, [a, b])
    scorer: Scorer
    if judge is not None:
        name, scorer = "reward model", load_scorer(judge, judge)
    elif source == LAB:
        from assent.lab.gold import Gold

        name, scorer = "gold", Gold()
    else:
        raise ConfigError(
            "no judge: gold knows only the lab's prompts",
            where="--judge",
            fix="give a reward model, or leave --prompts out",
        )
    found = _wins(examine(a, scorer, asked, n, seed), examine(b, scorer, asked, n, seed), seed)
    return name, found, len(asked)


def _wins(a: Subject, b: Subject, seed: int) -> Interval | None:
    units = [g.prompt.subject for g in a.sampled.groups for _ in g.answers]
    return win_rate(a.worth, b.worth, units, seed=seed)


def _world_of(model: str) -> int:
    """Seed of the world that a run's model lives in; 0 where the folder does not tell."""
    for folder in (Path(model), Path(model).parent):
        if (folder / RESOLVED).exists():
            return int(json.loads((folder / RESOLVED).read_text(encoding="utf-8")).get("world", 0))
    return 0
