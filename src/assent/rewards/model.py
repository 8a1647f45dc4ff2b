"""A trained reward model as a `Scorer`: any sequence classifier with one label, any tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assent.core.records import Group, Prompt
from assent.data.render import encode_groups, encode_prompts
from assent.engine import score_all
from assent.models.load import context_length


class ModelReward:
    """Scores answers by their exact ids where the tokenizer is the policy's, by their text otherwise."""

    def __init__(self, name: str, model: Any, tokenizer: Any, token_budget: int = 16384) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self._budget = token_budget

    @property
    def temperature(self) -> float:
        """T of P(i over j) = sigmoid((r_i - r_j) / T), fitted on held-out pairs; 1 where none was stored."""
        return float(getattr(self.model.config, "pair_temperature", 1.0))

    def room(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens, as this model counts them, that its context leaves for an answer to each prompt."""
        longest = context_length(self.model)
        return [longest - len(ids) for ids in encode_prompts(prompts, self.tokenizer)]

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """One number per answer; None for a group that is longer than the reward model can read."""
        encoded, _ = encode_groups(groups, self.tokenizer, context_length(self.model), "drop")
        if not encoded:
            return [[None] * len(group.answers) for group in groups]
        rewards = score_all(self.model, encoded, self._budget).reward_N
        assert rewards is not None
        flat = iter(rewards.tolist())
        known = {tokens.group_id: [next(flat) for _ in tokens.answers] for tokens in encoded}
        return [list(known.get(group.id, [None] * len(group.answers))) for group in groups]
