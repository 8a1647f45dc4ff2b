"""Fills the report: pipeline, curves, answers side by side, reward model, lineage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assent.artifacts.lineage import Node, trace
from assent.artifacts.manifest import Manifest
from assent.artifacts.store import Store
from assent.core.jsonl import read_records
from assent.core.records import Group
from assent.report.data import (
    Example,
    LineageNode,
    ModelTable,
    Number,
    Panel,
    PipelineNode,
    ReportData,
    RewardModelBlock,
    Series,
    ShownAnswer,
    Status,
    Verdict,
)
from assent.report.plots import LINES
from assent.stats.calibration import Bin

CURVES = (
    ("Reward", ("objective/scores", "objective/rlhf_reward"), "score of the reward model, and after the KL penalty"),
    ("KL to the reference", ("objective/kl",), "nats per answer"),
    ("Gold", ("gold",), "worth by the world's own rubric, which training never sees"),
    ("Length", ("completions/mean_length",), "tokens"),
    ("Entropy", ("objective/entropy",), "nats per token; a fall to zero is collapse"),
    ("Explained variance", ("value/explained_variance",), "of the value model; 1 is perfect, below 0 is harmful"),
    ("Loss", ("loss",), ""),
    ("Reward model accuracy", ("accuracy",), "on the pairs of each batch, before learning from them"),
    ("Log-probs of both answers", ("logps/chosen", "logps/rejected"), "nats per answer; both falling is common"),
)
EXAMPLES_PER_KIND = 2
SAMPLED = ("ppo", "grpo", "rloo", "online_dpo")
"""Kinds whose loss says nothing by itself: it is taken anew from every iteration's own answers."""
MEASURES = ("audit", "compare")
"""Kinds that make no model."""


def report(
    store: Store, manifests: list[Manifest], table: ModelTable | None, audit: dict[str, Any] | None
) -> ReportData:
    """Everything the report shows, from what the run's steps left on disk."""
    seconds = sum(m.seconds for m in manifests)
    newest = manifests[-1]
    return ReportData(
        title=f"Run {store.root.name}",
        subtitle="What people's preferences made of the model, and what it really learned",
        facts={
            "steps": str(len(manifests)),
            "seconds": f"{seconds:.0f}",
            "seed": str(newest.seed),
            "code": str(newest.environment.get("revision") or newest.environment.get("assent")),
        },
        verdicts=tuple(_verdicts(table, audit, manifests)),
        table=table,
        pipeline=tuple(
            PipelineNode(
                name=m.step,
                kind=m.kind,
                seconds=m.seconds,
                headline=_headline(m),
                parents=tuple(dict.fromkeys(p.step for group in m.parents.values() for p in group)),
            )
            for m in manifests
        ),
        curves=tuple(_curves(store, manifests)),
        examples=tuple(_examples(store, audit)) if audit else (),
        reward_model=_reward_model(store, manifests),
        lineage=tuple(_lineage(trace(store, m.step)) for m in leaves(manifests)),
        notes=_notes(audit),
    )


def _verdicts(table: ModelTable | None, audit: dict[str, Any] | None, manifests: list[Manifest]) -> list[Verdict]:
    """What was delivered, then what went wrong: each sentence with its number."""
    verdicts = []
    reward = next((m.headline for m in manifests if m.kind == "reward"), None)
    if reward and reward.get("floor_difference_interval"):
        low, high = reward["floor_difference_interval"]
        beats = low > 0
        verdicts.append(
            Verdict(
                status="good" if beats else "bad" if high < 0 else "unclear",
                text=(
                    "The reward model predicts people better than an answer's looks do."
                    if beats
                    else "The reward model does not predict people better than an answer's looks do."
                ),
                evidence=f"accuracy {reward['accuracy']:.3f} against {reward['accuracy_floor']:.3f} "
                f"on {reward['n']} held-out pairs; difference [{low:.3f}, {high:.3f}]",
            )
        )
    if not table or not audit:
        return verdicts
    name, before = audit["reference"], _made_from(audit, manifests)
    for model, figures in audit["models"].items():
        if model == name or not (win := figures.get("win_rate")):
            continue
        outcome = "beats" if win["low"] > 0.5 else "loses to" if win["high"] < 0.5 else "is not told apart from"
        # A reference that beats the model it was made from is what was wanted.
        wanted = "loses to" if model in before else "beats"
        status: Status = "good" if outcome == wanted else "unclear" if outcome.startswith("is") else "bad"
        verdicts.append(
            Verdict(
                status=status,
                text=f"{name} beats {model}." if model in before and status == "good" else f"{model} {outcome} {name}.",
                evidence=f"win rate of {model} {win['estimate']:.3f} [{win['low']:.3f}, {win['high']:.3f}] "
                f"by {audit['judge']}, n {win['n']} subjects",
            )
        )
        if model not in before:
            verdicts += _costs(model, figures, name, audit["models"][name])
    return verdicts


def _made_from(audit: dict[str, Any], manifests: list[Manifest]) -> set[str]:
    """Names, as the audit knows them, of the models that the reference was made from."""
    by_step = {m.step: m for m in manifests}
    steps = {name: group[0].step for m in manifests if m.step == audit.get("step") for name, group in m.parents.items()}
    behind: set[str] = set()
    waiting = [step for name, step in steps.items() if name == audit["reference"]]
    while waiting:
        parents = [p.step for group in by_step[waiting.pop()].parents.values() for p in group if p.step in by_step]
        waiting += [p for p in parents if p not in behind]
        behind |= set(parents)
    return {name for name, step in steps.items() if step in behind}


COSTS = {
    "agrees_when_wrong": ("high", "agrees with wrong opinions more often"),
    "disagrees_when_right": ("high", "contradicts users who are right more often"),
    "refuses_harmful": ("low", "refuses harmful requests less often"),
    "refuses_harmless": ("high", "refuses harmless requests more often"),
    "correct_facts": ("low", "gets fewer facts right"),
    "diversity": ("low", "repeats itself more"),
}


def _costs(model: str, figures: dict[str, Any], name: str, reference: dict[str, Any]) -> list[Verdict]:
    """Failures whose interval lies wholly on the bad side of the reference's."""
    found = []
    for key, (bad, words) in COSTS.items():
        new, old = figures.get(key), reference.get(key)
        if new and old and (new["low"] > old["high"] if bad == "high" else new["high"] < old["low"]):
            found.append(
                Verdict(
                    status="bad",
                    text=f"{model} {words} than {name}.",
                    evidence=f"{old['estimate']:.3f} -> {new['estimate']:.3f} "
                    f"[{new['low']:.3f}, {new['high']:.3f}], n {new['n']}",
                )
            )
    return found


def _headline(manifest: Manifest) -> str:
    names = {
        "pretrain": "parameters",
        "sft": "demonstrations",
        "collect": "judgments",
        "reward": "accuracy",
        "ppo": "kl",
        "dpo": "accuracy",
        "grpo": "scores",
        "rloo": "scores",
        "online_dpo": "scores",
        "best_of": "demonstrations",
    }
    value = manifest.headline.get(names.get(manifest.kind, ""))
    if not isinstance(value, int | float):
        return ""
    return f"{names[manifest.kind]} {value:,.3g}" if isinstance(value, float) else f"{value:,} {names[manifest.kind]}"


def _curves(store: Store, manifests: list[Manifest]) -> list[Panel]:
    panels = []
    online = {m.step for m in manifests if m.kind in SAMPLED}
    for title, names, help_text in CURVES:
        series = []
        for who, path in (log for manifest in manifests for log in _logs(store, manifest.step)):
            rows = _rows(path)
            for name in names:
                points = [(float(r["step"]), float(r[name])) for r in rows if name in r]
                if len(points) > 1:
                    label = who if len(names) == 1 else f"{who} {name.split('/')[-1]}"
                    series.append(Series(name=label, xs=tuple(x for x, _ in points), ys=tuple(y for _, y in points)))
        if series and title == "Loss":
            panels += [Panel(title=f"Loss of {s.name}", series=(s,)) for s in series if s.name not in online]
        else:
            panels += _shared(title, series, help_text, len(names))
    return panels


def _shared(title: str, series: list[Series], help_text: str, per_step: int) -> list[Panel]:
    """One panel, or several where there are more lines than colours; the lines of a step stay together."""
    most = len(LINES) // per_step * per_step
    cut = [tuple(series[i : i + most]) for i in range(0, len(series), most)]
    titles = [title] if len(cut) == 1 else [f"{title} ({i} of {len(cut)})" for i in range(1, len(cut) + 1)]
    return [Panel(title=name, series=lines, help=help_text) for name, lines in zip(titles, cut, strict=True)]


def _logs(store: Store, step: str) -> list[tuple[str, Path]]:
    """A step's figures; of an ensemble, each member's."""
    members = sorted(store.folder(step).glob("member-*/metrics.jsonl"))
    return [(f"{step} {p.parent.name}", p) for p in members] or [(step, store.folder(step) / "metrics.jsonl")]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _examples(store: Store, audit: dict[str, Any]) -> list[Example]:
    """A few prompts of each kind with every model's first answer, in the order of the prompts."""
    data = store.folder(audit["step"]) / "data"
    models = {
        name: (
            read_records(data / f"answers-{name}.jsonl", Group),
            json.loads((data / f"worth-{name}.json").read_text()),
        )
        for name in audit["models"]
    }
    some = next(iter(models.values()))[0]
    taken: dict[str, int] = {}
    examples = []
    for i, group in enumerate(some):
        kind = str(group.prompt.tags.get("kind", ""))
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] > (EXAMPLES_PER_KIND if kind else 12):
            continue
        answers = []
        for name, (groups, worth) in models.items():
            answer = groups[i].answers[0]
            answers.append(
                ShownAnswer(
                    model=name,
                    text=answer.text,
                    gold=worth[i * len(groups[i].answers)],
                    judge=audit["judge"],
                    cut=answer.finish == "length",
                )
            )
        text = (
            group.prompt.text
            if len(group.prompt.messages) == 1
            else "\n\n".join(f"{m.role}: {m.content}" for m in group.prompt.messages)
        )
        examples.append(Example(prompt=text, kind=kind.replace("_", " "), answers=tuple(answers)))
    return sorted(examples, key=lambda e: e.kind)


def _reward_model(store: Store, manifests: list[Manifest]) -> RewardModelBlock | None:
    found = next((m for m in manifests if m.kind == "reward" and m.headline.get("accuracy") is not None), None)
    if found is None:
        return None
    report = json.loads((store.folder(found.step) / "data" / "held_out.json").read_text(encoding="utf-8"))
    low, high = report["accuracy_interval"] or (None, None)
    d_low, d_high = report["floor_difference_interval"] or (None, None)
    return RewardModelBlock(
        accuracy=Number(value=report["accuracy"], low=low, high=high, n=report["n_subjects"]),
        floor=Number(value=report["accuracy_floor"], n=report["n_subjects"]),
        difference=Number(
            value=report["accuracy"] - report["accuracy_floor"], low=d_low, high=d_high, n=report["n_subjects"]
        ),
        pairs=report["n"],
        bins=tuple(Bin(*b) for b in report["calibration"]),
        ece=report["ece"],
        perfect_ece=report["perfect_ece"],
        brier=report["brier"],
        temperature=report["best_temperature"],
        floor_weights=report["floor_weights"],
    )


def leaves(manifests: list[Manifest]) -> list[Manifest]:
    """Models nothing else was trained from: where a lineage is read from."""
    read = {p.step for m in manifests if m.kind not in MEASURES for group in m.parents.values() for p in group}
    models = [m for m in manifests if m.kind not in MEASURES]
    return [m for m in models if m.step not in read] or models[-1:]


def headline_facts(node: Node) -> dict[str, str]:
    """A step's headline as a reader sees it: floats rounded, intervals and what is missing left out."""
    return {
        key.replace("_", " "): ", ".join(map(_rounded, value)) if isinstance(value, list) else _rounded(value)
        for key, value in node.headline.items()
        if isinstance(value, str | int | float | list) and value != [] and "interval" not in key
    }


def _rounded(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lineage(node: Node) -> LineageNode:
    facts = headline_facts(node)
    if node.remade:
        facts["made again since"] = "not what the step above was made from"
    facts |= {f"source {name}": digest[:12] for name, digest in node.sources.items()}
    parents = {parent.step: parent for group in node.parents.values() for parent in group}
    return LineageNode(
        name=node.step,
        kind=node.kind,
        hash=node.content,
        facts=facts,
        parents=tuple(_lineage(p) for p in parents.values()),
    )


def _notes(audit: dict[str, Any] | None) -> tuple[str, ...]:
    notes = ["Intervals are 95 % bootstrap intervals over subjects (or prompts where none is named)."]
    if audit and audit["judge"] == "gold":
        notes += [
            "The embedded world is tiny and its truth is known; nothing here is a claim about large models.",
            "Held-out subjects appear in the pretraining text, and in nothing that SFT, raters or PPO saw.",
        ]
    elif audit:
        notes.append("The judge is a reward that training also used: a win by it is no proof that people would agree.")
    return tuple(notes)
