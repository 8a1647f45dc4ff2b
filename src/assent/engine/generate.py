"""A local policy as a `Generator`: prompts in, groups of sampled answers out, ids kept as sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from assent.config.blocks import Sampling
from assent.core.errors import DataError
from assent.core.records import Answer, Group, Prompt, sampled_answer_id
from assent.data.collate import TokenGroup
from assent.data.render import decode_answer, encode_prompts, tokenizer_fingerprint
from assent.engine.sample import Rollout, sample
from assent.models.load import context_length, stop_ids


class Sampled(NamedTuple):
    """Groups as records, the same groups as token ids, and the sampler's log-probs [group][answer][token]."""

    groups: list[Group]
    tokens: list[TokenGroup]
    logps: list[list[tuple[float, ...]]]


class LocalGenerator:
    """Samples from a model in this process. `source` names the model in the answers it writes."""

    def __init__(self, model: Any, tokenizer: Any, source: str, sampling: Sampling, token_budget: int = 16384) -> None:
        self.model, self.tokenizer, self.source, self.sampling = model, tokenizer, source, sampling
        self._budget = token_budget
        self._stop = stop_ids(model, tokenizer)
        self._fingerprint = tokenizer_fingerprint(tokenizer)

    def generate(self, prompts: Sequence[Prompt], n: int, seed: int) -> list[Group]:
        """One group of `n` answers per prompt."""
        return self.draw(prompts, n, seed).groups

    def draw(self, prompts: Sequence[Prompt], n: int, seed: int, source: str | None = None) -> Sampled:
        """As `generate`, with token ids and log-probs beside the records."""
        source = source or self.source
        prompt_ids = encode_prompts(prompts, self.tokenizer)
        self._check_room(prompts, prompt_ids)
        places = _indices(prompts, n)
        names = [
            [sampled_answer_id(prompt, source, seed, i) for i in own]
            for prompt, own in zip(prompts, places, strict=True)
        ]
        rollouts = sample(
            self.model,
            prompt_ids,
            names,
            seed=seed,
            temperature=self.sampling.temperature,
            max_tokens=self.sampling.max_tokens,
            stop=self._stop,
            token_budget=self._budget,
        )
        groups, tokens = [], []
        for prompt, ids, own, answer_names, drawn in zip(prompts, prompt_ids, places, names, rollouts, strict=True):
            answers = tuple(
                Answer(
                    id=name,
                    text=self._text(prompt, ids, r),
                    token_ids=r.ids,
                    tokenizer=self._fingerprint,
                    finish="stop" if r.finish == "stop" else "length",
                    source=source,
                    seed=seed,
                    index=i,
                )
                for i, name, r in zip(own, answer_names, drawn, strict=True)
            )
            group = Group(prompt=prompt, answers=answers)
            groups.append(group)
            tokens.append(TokenGroup(group.id, tuple(ids), tuple(r.ids for r in drawn), tuple(answer_names)))
        return Sampled(groups, tokens, [[r.logps for r in drawn] for drawn in rollouts])

    def _text(self, prompt: Prompt, prompt_ids: Sequence[int], rollout: Rollout) -> str:
        body = rollout.ids[:-1] if rollout.finish == "stop" else rollout.ids
        return decode_answer(self.tokenizer, prompt, prompt_ids, body)

    def _check_room(self, prompts: Sequence[Prompt], prompt_ids: Sequence[Sequence[int]]) -> None:
        room = context_length(self.model)
        for prompt, ids in zip(prompts, prompt_ids, strict=True):
            if len(ids) + self.sampling.max_tokens > room:
                raise DataError(
                    f"prompt of {len(ids)} tokens leaves no room for {self.sampling.max_tokens} more in the "
                    f"model's {room}",
                    where=f"prompt {prompt.id}",
                    fix="lower sampling.max_tokens, or leave the prompt out",
                )


def _indices(prompts: Sequence[Prompt], n: int) -> list[range]:
    """Indices of each prompt's answers: a prompt that is asked again gets further answers, not the same ones."""
    asked: Counter[str] = Counter()
    places = []
    for prompt in prompts:
        places.append(range(asked[prompt.id] * n, (asked[prompt.id] + 1) * n))
        asked[prompt.id] += 1
    return places
