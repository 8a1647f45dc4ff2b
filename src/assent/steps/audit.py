"""The thin audit: each model answers held-out prompts, and one row says what became of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from assent.audits.table import Facets, Subject, examine, examine_best, row
from assent.config.steps import LAB, AuditConfig, BestOfConfig, CompareConfig
from assent.core.console import log
from assent.core.errors import DataError
from assent.core.jsonl import write_json, write_records
from assent.core.protocols import Scorer
from assent.data.render import encode_prompts
from assent.engine.generate import LocalGenerator
from assent.models.load import context_length, load_policy, load_tokenizer
from assent.rewards.ensemble import load_scorer
from assent.rewards.terms import distinct, listed
from assent.rewards.total import TotalReward
from assent.stats.bootstrap import MIN_UNITS, Interval
from assent.steps.context import Context, prompts
from assent.steps.online import check_room

TABLE = "audit.json"


def step(context: Context, config: AuditConfig) -> dict[str, Any]:
    """Sample, judge, count; the table and every answer are kept."""
    judge_name, judge, facets = judging(context, config)
    subjects = sampled(context, config, judge, config.models)
    reference = subjects[config.reference]
    if (picker := context.model_input("reward")) is not None:
        name = f"{config.reference} best of {config.best_of}"
        subjects[name] = best_of(context, config, reference, judge, _model_reward("reward", picker, config))
    table = {
        name: row(subject, reference, facets, judge_name, config.token_budget, context.seed_for("bootstrap"))
        for name, subject in subjects.items()
    }
    for name, subject in subjects.items():
        write_records(context.data / f"answers-{name}.jsonl", subject.sampled.groups)
        write_json(context.data / f"worth-{name}.json", subject.worth)
    figures = {
        name: {figure: asdict(value) if value else None for figure, value in values.items()}
        for name, values in table.items()
    }
    if not any(value for values in table.values() for value in values.values()):
        found = len({group.prompt.subject for group in subjects[config.reference].sampled.groups})
        log.print(f"  {found} subjects are too few for an interval ({MIN_UNITS}): the table is empty", style="yellow")
    write_json(context.data / TABLE, {"reference": config.reference, "judge": judge_name, "models": figures})
    return {name: _short(values, judge_name) for name, values in table.items()}


def judging(
    context: Context, config: AuditConfig | BestOfConfig | CompareConfig
) -> tuple[str, Scorer | None, Facets | None]:
    """Gold and its facets in the lab; a reward model elsewhere, or the rewards an audit lists, where some are given."""
    if config.data == LAB and "judge" not in context.inputs:
        from assent.lab.gold import Gold, facets

        return "gold", Gold(), facets
    if (folder := context.model_input("judge")) is not None:
        return "reward", _model_reward("judge", folder, config), None
    if isinstance(config, AuditConfig) and config.rewards:
        return "reward", TotalReward(distinct(listed(config.rewards, config.token_budget))), None
    return "reward", None, None


def _model_reward(name: str, folder: Path, config: AuditConfig | BestOfConfig | CompareConfig) -> Scorer:
    return load_scorer(name, folder, config.token_budget)


def best_of(context: Context, config: AuditConfig, reference: Subject, judge: Scorer | None, picker: Scorer) -> Subject:
    """The reference again, on the same prompts, with fresh answers of which the best are kept."""
    asked = [group.prompt for group in reference.sampled.groups]
    check_room(TotalReward([("reward", picker, 1.0)]), asked, reference.generator)
    seed = context.seed_for("best of")
    return examine_best(reference.generator, judge, picker, asked, config.answers, config.best_of, seed)


def sampled(
    context: Context, config: AuditConfig | CompareConfig, judge: Scorer | None, names: list[str]
) -> dict[str, Subject]:
    """Every named model's answers to the same held-out prompts."""
    asked = prompts(context, config.data, held_out=True, n=config.prompts)
    generators = {}
    for name in names:
        folder = context.model_input(name)
        assert folder is not None
        model = load_policy(folder)
        generators[name] = LocalGenerator(
            model, load_tokenizer(folder), folder.parent.name, config.sampling, config.token_budget
        )
    asked = fitting(asked, list(generators.values()))
    return {
        name: examine(generator, judge, asked, config.answers, context.seed_for("answers"))
        for name, generator in generators.items()
    }


def fitting(asked: list[Any], generators: list[LocalGenerator]) -> list[Any]:
    """Prompts that leave every model room to answer; how many do not is said."""
    kept = asked
    for generator in generators:
        room = context_length(generator.model) - generator.sampling.max_tokens
        kept = [p for p, ids in zip(kept, encode_prompts(kept, generator.tokenizer), strict=True) if len(ids) <= room]
    if not kept:
        raise DataError(
            f"none of {len(asked)} prompts leaves every model room to answer",
            fix="a smaller max_tokens, or shorter prompts",
        )
    if len(kept) < len(asked):
        log.print(
            f"  {len(asked) - len(kept)} of {len(asked)} prompts leave no room to answer and are not asked",
            style="yellow",
        )
    return kept


def _short(values: dict[str, Interval | None], judge: str) -> dict[str, Any]:
    kept = (judge, "win_rate", "kl", "kl_bound", "mean_length")
    return {name: round(value.estimate, 4) for name in kept if (value := values.get(name)) is not None}
