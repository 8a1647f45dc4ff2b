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
from assent.data.tokens import end_of_turn
from assent.engine import ranks
from assent.engine.draw import Ended, Rollout
from assent.engine.sample import sample
from assent.models.load import context_length, stop_ids

SPARE = 8
"""Tokens decoded beyond the bytes of a stop string: for special tokens without text, and since the first token
of what is decoded may come out without its blank."""


class Sampled(NamedTuple):
    """Groups as records, the same groups as token ids, and the sampler's log-probs [group][answer][token]."""

    groups: list[Group]
    tokens: list[TokenGroup]
    logps: list[list[tuple[float, ...]]]

    def first(self, n: int) -> Sampled:
        """The first `n` groups."""
        return Sampled(self.groups[:n], self.tokens[:n], self.logps[:n])


class LocalGenerator:
    """Samples from a model in this process. `source` names the model in the answers it writes."""

    def __init__(self, model: Any, tokenizer: Any, source: str, sampling: Sampling, token_budget: int = 16384) -> None:
        self.model, self.tokenizer, self.source, self.sampling = model, tokenizer, source, sampling
        self._budget = token_budget
        self._stop = tuple(dict.fromkeys((*stop_ids(model, tokenizer), end_of_turn(tokenizer))))
        self._fingerprint = tokenizer_fingerprint(tokenizer)

    def generate(self, prompts: Sequence[Prompt], n: int, seed: int) -> list[Group]:
        """One group of `n` answers per prompt."""
        return self.draw(prompts, n, seed).groups

    def draw(self, prompts: Sequence[Prompt], n: int, seed: int, source: str | None = None) -> Sampled:
        """As `generate`, with token ids and log-probs beside the records; each rank samples its share for all."""
        source = source or self.source
        prompt_ids = encode_prompts(prompts, self.tokenizer)
        self._check_room(prompts, prompt_ids)
        places = _indices(prompts, n)
        names = [
            [sampled_answer_id(prompt, source, seed, i) for i in own]
            for prompt, own in zip(prompts, places, strict=True)
        ]
        mine = ranks.share([len(ids) + n * self.sampling.max_tokens for ids in prompt_ids])
        asked = [(prompts[i], prompt_ids[i]) for i in mine for _ in range(n)]
        answered = sample(
            self.model,
            [prompt_ids[i] for i in mine],
            [names[i] for i in mine],
            seed=seed,
            temperature=self.sampling.temperature,
            max_tokens=self.sampling.max_tokens,
            stop=self._stop,
            token_budget=self._budget,
            ended=self._ended(asked) if self.sampling.stop else None,
        )
        by_prompt = dict(ranks.gather(list(zip(mine, answered, strict=True))))
        rollouts = [by_prompt[i] for i in range(len(prompts))]
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
        body = rollout.ids[:-1] if rollout.ids[-1] in self._stop else rollout.ids
        text = decode_answer(self.tokenizer, prompt, prompt_ids, body)
        return text[: min((at for string in self.sampling.stop if (at := text.find(string)) >= 0), default=None)]

    def _ended(self, asked: Sequence[tuple[Prompt, Sequence[int]]]) -> Ended:
        """Whether a stop string has appeared, behind each answer's prompt. Only the end of an answer is decoded: a
        token is at least a byte."""
        stop = self.sampling.stop
        reach = max(len(string.encode()) for string in stop) + SPARE

        def ended(i: int, ids: Sequence[int]) -> bool:
            if len(ids) <= reach:
                text = decode_answer(self.tokenizer, *asked[i], ids)
            else:
                text = self.tokenizer.decode(ids[-reach:], skip_special_tokens=True)
            return any(string in text for string in stop)

        return ended

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
