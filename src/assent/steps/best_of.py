"""Best-of-n: what picking by a reward is worth on held-out prompts, and the best answers to training prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from assent.config.steps import BestOfConfig
from assent.core.console import log
from assent.core.jsonl import write_json, write_records
from assent.core.records import Answer, Demonstration, Group
from assent.engine.generate import LocalGenerator
from assent.models.load import load_policy, load_tokenizer
from assent.rewards.total import TotalReward
from assent.stats.best_of import Point, Scores, curve
from assent.stats.bootstrap import Interval
from assent.steps.audit import fitting, judging
from assent.steps.context import DEMONSTRATIONS, Context, prompts
from assent.steps.online import check_room, reward, reward_models

GROUPS, SCORES, TABLE = "groups.jsonl", "scores.json", "best_of.json"
"""Held-out answers, their scores, and best-of-n over n."""


def step(context: Context, config: BestOfConfig) -> dict[str, Any]:
    """Sample, score, pick; measure best-of-n for every n on prompts of which nothing is learned."""
    folder = context.model_input("policy")
    assert folder is not None
    model, tokenizer = load_policy(folder), load_tokenizer(folder)
    generator = LocalGenerator(model, tokenizer, folder.parent.name, config.sampling, config.token_budget)
    scorer = reward(context, config, reward_models(context))
    found, left_out = demonstrations(*_scored(context, config, generator, scorer, held_out=False))
    write_records(context.data / DEMONSTRATIONS, found)
    _tell(len(found), left_out)
    groups, scores = _scored(context, config, generator, scorer, held_out=True)
    judge_name, judge, _ = judging(context, config)
    judged = judge.score(groups) if judge else None
    units = [group.prompt.subject for group in groups]
    points = curve(scores, judged, units, config.answers, seed=context.seed_for("bootstrap"))
    write_records(context.data / GROUPS, groups)
    write_json(context.data / SCORES, {"judge": judge_name if judge else None, "proxy": scores, "judged": judged})
    write_json(context.data / TABLE, [asdict(point) for point in points])
    log.print(table(points, judge_name))
    one, best = points[0], points[-1]
    return {
        "demonstrations": len(found),
        "alike": left_out["alike"],
        "missing": left_out["missing"],
        "held_out_prompts": len(groups),
        "proxy_one": _rounded(one.proxy),
        "proxy_best": _rounded(best.proxy),
        "judge": judge_name if judge else None,
        "judge_one": _rounded(one.judge),
        "judge_best": _rounded(best.judge),
        "kl_bound": _rounded(best.kl_bound),
    }


def demonstrations(groups: Sequence[Group], scores: Sequence[Scores]) -> tuple[list[Demonstration], Counter[str]]:
    """The best answer of each prompt that ends and has a score, and how many prompts were left out.

    `missing`: fewer than two such answers. `alike`: none is better than another, so nothing was picked.
    """
    found: list[Demonstration] = []
    left_out: Counter[str] = Counter()
    for group, values in zip(groups, scores, strict=True):
        ended = [
            (value, answer)
            for value, answer in zip(values, group.answers, strict=True)
            if value is not None and answer.finish == "stop"
        ]
        known = [value for value, _ in ended]
        if len(ended) < 2:
            left_out["missing"] += 1
        elif len({answer.text for _, answer in ended}) == 1 or max(known) == min(known):
            left_out["alike"] += 1
        else:
            answer = ended[known.index(max(known))][1]
            found.append(Demonstration(prompt=group.prompt, answer=answer, author=answer.source))
    return found, left_out


def best(group: Group, values: Scores) -> Answer | None:
    """The answer with the highest score, one that ends before one that was cut; None where no score is known."""
    known = [
        (answer.finish == "stop", value, -i)
        for i, (answer, value) in enumerate(zip(group.answers, values, strict=True))
        if value is not None
    ]
    return group.answers[-max(known)[2]] if known else None


def table(points: Sequence[Point], judge: str) -> Table:
    """Best-of-n over n for the terminal; the judge's column only where one judged."""
    judged = any(point.judge is not None for point in points)
    drawn = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("n", "proxy", *([judge] if judged else []), "KL at most"):
        drawn.add_column(title, justify="right")
    for point in points:
        worth = [_cell(point.judge, point.judge_interval)] if judged else []
        drawn.add_row(str(point.n), _cell(point.proxy, point.proxy_interval), *worth, f"{point.kl_bound:.3f}")
    return drawn


def _cell(mean: float | None, interval: Interval | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3f}" + (f" ({interval.low:.3f} to {interval.high:.3f})" if interval else "")


def _scored(
    context: Context, config: BestOfConfig, generator: LocalGenerator, scorer: TotalReward, *, held_out: bool
) -> tuple[list[Group], list[list[float | None]]]:
    """Answers to the prompts of one side of the split, and their scores by the proxy."""
    wanted = config.held_out_prompts if held_out else config.prompts
    asked = fitting(prompts(context, config.data, held_out=held_out, n=wanted), [generator])
    check_room(scorer, asked, generator)
    groups = generator.generate(asked, config.answers, context.seed_for("answers", held_out))
    return groups, scorer.score(groups)


def _tell(found: int, left_out: Counter[str]) -> None:
    """Say which prompts gave no demonstration, and why."""
    for reason, why in (
        ("alike", "have answers that all score alike"),
        ("missing", "have fewer than two answers that end and have a score"),
    ):
        if left_out[reason]:
            asked = found + left_out.total()
            log.print(f"  {left_out[reason]} of {asked} prompts {why}; they give no demonstration", style="yellow")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
