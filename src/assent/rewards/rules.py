r"""Rewards written as rules: each sees one answer and its prompt's tags, and gives one number. `docs/rewards.md`.

json_value   1 where the answer is one JSON value, else 0
regex        1 where the pattern is found, else 0
exact        1 where the answer's result is the prompt's own, else 0; None without the prompt's tag
length       0 near the target, then less by 1 for each further target's length
repetition   minus the share of word n-grams that stood in the answer before
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from assent.config.rewards import (
    ExactRule,
    JsonRule,
    LengthRule,
    RegexRule,
    RepetitionRule,
    RewardSource,
)
from assent.core.errors import DataError
from assent.core.records import Answer, Group, Prompt

Rule = Callable[[Prompt, Answer], float | None]
"""One number, higher is better; None where it cannot be computed."""

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


class RuleReward:
    """A rule as a `Scorer`: one answer at a time, so the cut of a batch changes nothing."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """One number, or None, per answer."""
        return [[self._rule(group.prompt, answer) for answer in group.answers] for group in groups]


def rule_of(source: RewardSource) -> tuple[str, RuleReward] | None:
    """The kind of rule a reward term names, and its scorer; None where it is a model or a function."""
    for kind, make in RULES.items():
        settings = getattr(source, kind)
        if settings is not None:
            return kind, RuleReward(make(settings))
    return None


def json_value(settings: JsonRule) -> Rule:
    """1 where the whole answer is one JSON value by the standard (no NaN, no comments, only blanks around it)."""

    def rule(prompt: Prompt, answer: Answer) -> float:
        try:
            value = json.loads(answer.text, parse_constant=_no_number)
        except (ValueError, RecursionError):  # brackets nested by the thousand are no answer either
            return 0.0
        return float(not settings.keys or (isinstance(value, dict) and value.keys() >= set(settings.keys)))

    return rule


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def regex(settings: RegexRule) -> Rule:
    """1 where the pattern is found in the answer (or, with `whole`, matches all of it)."""
    pattern = re.compile(settings.pattern)
    match = pattern.fullmatch if settings.whole else pattern.search

    def rule(prompt: Prompt, answer: Answer) -> float:
        return float(match(answer.text) is not None)

    return rule


def exact(settings: ExactRule) -> Rule:
    """1 where the answer's result equals the prompt's. An answer without a result is wrong, not missing."""
    pattern = re.compile(settings.pattern)

    def rule(prompt: Prompt, answer: Answer) -> float | None:
        truth = prompt.tags.get(settings.tag)
        if truth is None:
            return None
        found = [match[1] for match in pattern.finditer(answer.text)]
        return float(bool(found) and found[-1] is not None and same(found[-1], str(truth)))

    return rule


def same(first: str, second: str) -> bool:
    """Whether two results are equal: as numbers where both are (1,234.0 is 1234), else as text without case."""
    return _value(first) == _value(second)


def _value(text: str) -> Decimal | str:
    """A number in decimal notation, exactly; anything else as text, blanks made one, case folded."""
    text = " ".join(text.split()).casefold()
    plain = text.replace(",", "") if GROUPED.fullmatch(text) else text
    return Decimal(plain) if NUMBER.fullmatch(plain) else text


def length(settings: LengthRule) -> Rule:
    """0 within `tolerance` of the target, else minus the rest of the distance over the target.

    Counted in tokens, EOS included, where the answer was sampled; in words where it was written.
    """

    def rule(prompt: Prompt, answer: Answer) -> float:
        long = len(answer.text.split()) if answer.token_ids is None else len(answer.token_ids)
        return -max(0, abs(long - settings.target) - settings.tolerance) / settings.target

    return rule


def repetition(settings: RepetitionRule) -> Rule:
    """Minus the share of word n-grams that are no first; 0 for an answer too short to hold one.

    Yeo et al. 2025 (arXiv 2502.03373) penalise so; `get_repetition_penalty_reward` of open-r1 counts the same.
    """

    def rule(prompt: Prompt, answer: Answer) -> float:
        words = answer.text.casefold().split()
        grams = [tuple(words[i : i + settings.words]) for i in range(len(words) - settings.words + 1)]
        return -(len(grams) - len(set(grams))) / len(grams) if grams else 0.0

    return rule


RULES: dict[str, Callable[[Any], Rule]] = {
    "json_value": json_value,
    "regex": regex,
    "exact": exact,
    "length": length,
    "repetition": repetition,
}
"""Field of `RewardSource` -> what makes its rule."""


def check(sources: Sequence[RewardSource], prompts: Sequence[Prompt], where: str) -> int:
    """How many of the prompts an `exact` term cannot score for want of its tag; DataError where it is all of them."""
    missing = 0
    for rule in (source.exact for source in sources if source.exact is not None):
        truths = [_truth(prompt, rule.tag, where) for prompt in prompts]
        known = [truth for truth in truths if truth is not None]
        if not known:
            tags = sorted({tag for prompt in prompts for tag in prompt.tags})
            raise DataError(
                f"no prompt has the tag `{rule.tag}`, which the reward `exact` compares answers with",
                where=where,
                fix=f"`exact: {{tag: NAME}}` names another; these prompts have: {', '.join(tags) or 'no tags'}",
            )
        if rule.pattern == ExactRule().pattern and all(isinstance(_value(truth), str) for truth in known):
            raise DataError(
                f"the reward `exact` takes an answer's last number, but no prompt's `{rule.tag}` is a number "
                f"({known[0]!r:.60})",
                where=where,
                fix="give it a `pattern` whose first group is the result, such as '(.+)' for the last line",
            )
        missing = max(missing, len(prompts) - len(known))
    return missing


def _truth(prompt: Prompt, tag: str, where: str) -> str | None:
    """The tag as text; None where it is absent."""
    truth = prompt.tags.get(tag)
    if isinstance(truth, list | dict):
        raise DataError(
            f"the tag `{tag}` of the prompt {prompt.text!r:.60} is a {type(truth).__name__}",
            where=where,
            fix="the reward `exact` compares with one text or number",
        )
    return None if truth is None else str(truth)
