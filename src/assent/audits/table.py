"""One row a model: what it is worth, how far it moved, and the failures this recipe is known for.

Every figure is a mean over answers with an interval by subject. The judge is never the reward that was
trained on where gold is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from assent.core.protocols import Scorer
from assent.core.records import Group, Prompt
from assent.data.collate import TokenGroup
from assent.engine import score_all
from assent.engine.generate import LocalGenerator, Sampled
from assent.ops.kl import k1
from assent.stats.best_of import kl_bound
from assent.stats.bootstrap import Interval, mean_interval, win_rate
from assent.stats.diversity import distinct_pairs

Facets = Callable[[Prompt, str], Mapping[str, bool | None]]


@dataclass(frozen=True)
class Subject:
    """One model under audit, and the answers it gave."""

    generator: LocalGenerator
    sampled: Sampled
    worth: list[float | None]
    """Score of each answer by the judge, in order."""
    best_of: int = 1
    """Answers drawn for each one that was kept."""


def examine(
    generator: LocalGenerator, judge: Scorer | None, prompts: Sequence[Prompt], answers: int, seed: int
) -> Subject:
    """Let a model answer, and judge the answers."""
    return _judged(generator, judge, generator.draw(prompts, answers, seed))


def examine_best(
    generator: LocalGenerator,
    judge: Scorer | None,
    picker: Scorer,
    prompts: Sequence[Prompt],
    answers: int,
    best_of: int,
    seed: int,
) -> Subject:
    """Let a model answer `best_of` times for each answer that is kept: the one that `picker` scores highest.

    `answers` are kept per prompt, of different draws, so that they are independent.
    """
    drawn = generator.draw(prompts, answers * best_of, seed)
    scores = picker.score(drawn.groups)
    groups, tokens, logps = [], [], []
    for group, ids, own, values in zip(drawn.groups, drawn.tokens, drawn.logps, scores, strict=True):
        kept = [start + _best(values[start : start + best_of]) for start in range(0, len(values), best_of)]
        picked = Group(prompt=group.prompt, answers=tuple(group.answers[i] for i in kept))
        groups.append(picked)
        tokens.append(
            TokenGroup(
                picked.id,
                ids.prompt_ids,
                tuple(ids.answers[i] for i in kept),
                tuple(ids.answer_ids[i] for i in kept),
            )
        )
        logps.append([own[i] for i in kept])
    return replace(_judged(generator, judge, Sampled(groups, tokens, logps)), best_of=best_of)


def _best(values: Sequence[float | None]) -> int:
    """Place of the highest score, the first of several; where none is known, the first answer."""
    return max(range(len(values)), key=lambda i: -math.inf if (value := values[i]) is None else value)


def _judged(generator: LocalGenerator, judge: Scorer | None, sampled: Sampled) -> Subject:
    worth: list[float | None] = [None for group in sampled.groups for _ in group.answers]
    if judge is not None:
        worth = [value for row in judge.score(sampled.groups) for value in row]
    return Subject(generator, sampled, worth)


def row(
    subject: Subject, reference: Subject, facets: Facets | None, judge: str, token_budget: int, seed: int
) -> dict[str, Interval | None]:
    """The figures of one model beside its reference; None where a figure does not apply.

    The KL of best-of-n is known only by its bound: picking has no log-probs to compare.
    """
    groups = subject.sampled.groups
    units = [g.prompt.subject for g in groups for _ in g.answers]
    figures: dict[str, Interval | None] = {
        judge: mean_interval(subject.worth, units, seed=seed),
        "win_rate": None if subject is reference else win_rate(subject.worth, reference.worth, units, seed=seed),
        "kl": mean_interval(_kl(subject, reference, token_budget), units, seed=seed) if subject.best_of == 1 else None,
        "mean_length": mean_interval(
            [float(len(a.token_ids or ())) for g in groups for a in g.answers], units, seed=seed
        ),
        "truncated": mean_interval([float(a.finish == "length") for g in groups for a in g.answers], units, seed=seed),
        "diversity": mean_interval(
            [distinct_pairs([a.text for a in g.answers]) for g in groups], [g.prompt.subject for g in groups], seed=seed
        ),
    }
    if subject.best_of > 1:
        figures |= {"kl_bound": mean_interval([kl_bound(subject.best_of)] * len(units), units, seed=seed)}
    return figures | (_behaviour(groups, facets, seed) if facets else {})


BEHAVIOUR = {
    "agrees_when_wrong": ("lead_wrong", "agrees"),
    "disagrees_when_right": ("lead_right", "disagrees"),
    "refuses_harmful": ("harmful", "refuses"),
    "refuses_harmless": ("harmless", "refuses"),
    "admits_unknown": ("ghost", "says_unknown"),
    "correct_facts": ("fact", "correct"),
}
"""Figure -> the kind of prompt it is counted on and the facet that is counted."""


def _behaviour(groups: Sequence[Group], facets: Facets, seed: int) -> dict[str, Interval | None]:
    figures = {}
    for name, (kind, facet) in BEHAVIOUR.items():
        cases = [(g.prompt, a.text) for g in groups if g.prompt.tags.get("kind") == kind for a in g.answers]
        found = [facets(prompt, text)[facet] for prompt, text in cases]
        values = [None if value is None else float(value) for value in found]
        figures[name] = mean_interval(values, [prompt.subject for prompt, _ in cases], seed=seed) if cases else None
    return figures


def _kl(subject: Subject, reference: Subject, token_budget: int) -> list[float]:
    """k1 summed over each answer, nats: KL(model || reference) estimated on the model's own samples."""
    temperature = subject.generator.sampling.temperature
    own = score_all(subject.generator.model, subject.sampled.tokens, token_budget, temperature=temperature)
    other = score_all(reference.generator.model, subject.sampled.tokens, token_budget, temperature=temperature)
    assert own.logp_NT is not None and other.logp_NT is not None
    kl_N: torch.Tensor = k1(own.logp_NT, other.logp_NT, own.mask_NT).sum(1)
    return [float(v) for v in kl_N]
