"""Answers to prompts, and rankings of them: the lab's raters, or a file of people's judgments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assent.config.steps import LAB, CollectConfig
from assent.core.errors import ConfigError, DataError
from assent.core.hashing import file_hash
from assent.core.jsonl import read_records, write_json, write_records
from assent.core.records import Group, Judgment, Rater
from assent.steps.context import Context, prompts

GROUPS, JUDGMENTS, RATERS, SPLIT = "groups.jsonl", "judgments.jsonl", "raters.jsonl", "split.json"


def step(context: Context, config: CollectConfig) -> dict[str, Any]:
    """Write groups, judgments, raters, and which prompts are held out."""
    groups, judgments, raters, held_out = SOURCES[config.source](context, config)
    guideline = file_hash(Path(config.guideline).expanduser())[:12] if config.guideline else None
    if guideline:
        judgments = [j if j.guideline else j.model_copy(update={"guideline": guideline}) for j in judgments]
    write_records(context.data / GROUPS, groups)
    write_records(context.data / JUDGMENTS, judgments)
    write_records(context.data / RATERS, raters)
    write_json(context.data / SPLIT, {"held_out": sorted(held_out)})
    return _headline(groups, judgments, raters, len(held_out), context.seed_for("agreement"))


Collected = tuple[list[Group], list[Judgment], list[Rater], set[str]]


def _from_lab(context: Context, config: CollectConfig) -> Collected:
    """Sample answers from the policy and let simulated raters rank them."""
    from assent.lab.raters import Dials, pool

    try:
        dials = Dials.model_validate(config.raters.dials)
    except ValueError as error:
        raise ConfigError(
            " ".join(str(error).split()), where=f"{context.name}.raters.dials", fix="docs/lab.md names the dials"
        ) from None
    groups, held_out = sample(context, config)
    raters = pool(config.raters.count, dials, context.seed_for("raters"))
    judgments = [
        raters[(i + shift) % len(raters)].rank(group, context.seed_for("rank"))
        for i, group in enumerate(groups)
        for shift in range(config.raters.per_group)
    ]
    return groups, judgments, [r.rater for r in raters], held_out


def sample(context: Context, config: CollectConfig) -> tuple[list[Group], set[str]]:
    """The policy's answers to training and held-out prompts; ids of the held-out ones."""
    from assent.engine.generate import LocalGenerator
    from assent.models.load import load_policy, load_tokenizer

    policy = context.model_input("policy")
    assert policy is not None
    train = prompts(context, config.data, held_out=False, n=config.prompts)
    measured = prompts(context, config.data, held_out=True, n=config.held_out_prompts)
    generator = LocalGenerator(
        load_policy(policy), load_tokenizer(policy), policy.parent.name, config.sampling, config.token_budget
    )
    groups = generator.generate([*train, *measured], config.answers, context.seed_for("answers"))
    return groups, {p.id for p in measured}


def _from_file(context: Context, config: CollectConfig) -> Collected:
    """People's judgments from a file."""
    from assent.formats.read import read_preferences

    found = read_preferences(config.data)
    held_out = {g.prompt.id for g in found.groups if context.is_held_out(g.prompt)}
    return found.groups, found.judgments, found.raters, held_out


def _from_service(context: Context, config: CollectConfig) -> Collected:
    """People's judgments, as the rating service has them."""
    from assent.lab.world import held_out as lab_held_out
    from assent.steps import service

    groups, judgments, raters = service.judgments(context, config)
    if config.data == LAB and "policy" in config.inputs:  # the lab keeps subjects of its own from training
        return groups, judgments, raters, {g.prompt.id for g in groups if lab_held_out(g.prompt.subject)}
    return groups, judgments, raters, {g.prompt.id for g in groups if context.is_held_out(g.prompt)}


SOURCES = {"lab": _from_lab, "file": _from_file, "service": _from_service}


def _headline(
    groups: list[Group], judgments: list[Judgment], raters: list[Rater], held_out: int, seed: int
) -> dict[str, Any]:
    from assent.stats.agreement import nominal_alpha, raw_agreement, votes

    cast = votes(judgments, {g.id: g for g in groups})
    raw, alpha = raw_agreement(cast, seed=seed), nominal_alpha(cast, seed=seed)
    return {
        "groups": len(groups),
        "judgments": len(judgments),
        "raters": len(raters),
        "rater_kinds": sorted({r.kind for r in raters}),
        "guidelines": sorted({j.guideline or "none named" for j in judgments}),
        "held_out_prompts": held_out,
        "agreement": round(raw.estimate, 3) if raw else None,
        "alpha": round(alpha.estimate, 3) if alpha else None,
    }


def read(folder: Path) -> tuple[list[Group], list[Judgment], set[str]]:
    """What a collect step left: groups, judgments, ids of held-out prompts."""
    data = folder / "data"
    if not (data / GROUPS).exists():
        raise DataError("holds no judgments", where=str(folder), fix="name a `collect` step as input `judgments`")
    held_out = json.loads((data / SPLIT).read_text(encoding="utf-8"))["held_out"]
    return read_records(data / GROUPS, Group), read_records(data / JUDGMENTS, Judgment), set(held_out)


def read_raters(folder: Path) -> list[Rater]:
    """Who judged, of a collect step."""
    return read_records(folder / "data" / RATERS, Rater)
