"""The thin audit: each model answers held-out prompts, and one row says what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from assent.audits.table import Facets, Subject, examine, row
from assent.config.steps import LAB, AuditConfig, CompareConfig
from assent.core.console import log
from assent.core.errors import DataError
from assent.core.jsonl import write_json, write_records
from assent.core.protocols import Scorer
from assent.data.render import encode_prompts
from assent.engine.generate import LocalGenerator
from assent.models.load import context_length, load_policy, load_reward_model, load_tokenizer
from assent.rewards.model import ModelReward
from assent.stats.bootstrap import Interval
from assent.steps.context import Context, prompts

TABLE = "audit.json"


def step(context: Context, config: AuditConfig) -> dict[str, Any]:
    """Sample, judge, count; the table and every answer are kept."""
    names = [name for name in context.inputs if name != "judge"]
    judge_name, judge, facets = judging(context, config)
    subjects = sampled(context, config, judge, names)
    reference = subjects[config.reference]
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
    write_json(context.data / TABLE, {"reference": config.reference, "judge": judge_name, "models": figures})
    return {name: _short(values, judge_name) for name, values in table.items()}


def judging(context: Context, config: AuditConfig | CompareConfig) -> tuple[str, Scorer | None, Facets | None]:
    """Gold and its facets in the lab; a reward model elsewhere, where one is given."""
    if config.data == LAB and "judge" not in context.inputs:
        from assent.lab.gold import Gold, facets

        return "gold", Gold(), facets
    folder = context.model_input("judge")
    if folder is None:
        return "reward", None, None
    return "reward", ModelReward("judge", load_reward_model(folder), load_tokenizer(folder), config.token_budget), None


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
    kept = (judge, "win_rate", "kl", "mean_length")
    return {name: round(value.estimate, 4) for name in kept if (value := values.get(name)) is not None}
