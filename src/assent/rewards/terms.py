"""The terms of a recipe's reward as scorers with names: a model, a function, a rule each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from assent.config.rewards import RewardSource
from assent.core.protocols import Scorer
from assent.models.load import load_reward_model, load_tokenizer
from assent.rewards.function import FunctionReward
from assent.rewards.model import ModelReward
from assent.rewards.rules import rule_of

Term = tuple[str, Scorer, float]
"""Name of its curve, scorer, weight."""


def listed(sources: Sequence[RewardSource], token_budget: int) -> list[Term]:
    """The terms that a recipe lists, in its order."""
    return [_term(source, token_budget) for source in sources]


def _term(source: RewardSource, token_budget: int) -> Term:
    if (rule := rule_of(source)) is not None:
        return (*rule, source.weight)
    if source.function is not None:
        return source.function, FunctionReward(source.function, source.timeout), source.weight
    assert source.model is not None
    model, tokenizer = load_reward_model(source.model), load_tokenizer(source.model)
    return source.model, ModelReward(source.model, model, tokenizer, token_budget), source.weight


def distinct(given: Sequence[Term]) -> list[Term]:
    """The same terms, a name that comes again numbered: `length`, `length-2`."""
    seen: Counter[str] = Counter()
    named = []
    for name, scorer, weight in given:
        seen[name] += 1
        named.append((f"{name}-{seen[name]}" if seen[name] > 1 else name, scorer, weight))
    return named
