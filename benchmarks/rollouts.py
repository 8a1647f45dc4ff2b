"""What the rows that sample share on both sides: answers of forced length, a reward function, an oracle.

Importable in every environment: standard library, torch and transformers only, nothing of Assent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.workload import Ids, Task

NEVER = "<never>"
GAP, GAP_BF16 = 1e-4, 0.5
"""Largest difference, in nats, between a sampler's log-probability of a token and a plain forward pass's in fp32."""
CHECKED = 16
"""Tokens written greedily for the comparison. Longer ones would part where two tokens are equally likely
but for rounding, and from there on everything differs."""


class Sampled(NamedTuple):
    """The answers to one prompt: ids, and the log-probabilities that the sampler gives for them."""

    answers: list[list[int]]
    logps: list[list[float]]


def endless(model: Any, tokenizer: Any) -> None:
    """An end-of-sequence token beyond the vocabulary: answers have the forced length, and nothing has to be masked."""
    tokenizer.add_special_tokens({"eos_token": NEVER})
    model.generation_config.eos_token_id = tokenizer.eos_token_id


def even_words(completions: Sequence[str], **_: Any) -> list[float]:
    """A cheap reward: the share of words with an even number, less one half."""
    return [_even(completion.split()) for completion in completions]


def _even(words: Sequence[str]) -> float:
    numbers = [int(word[1:]) for word in words if word[:1] == "t" and word[1:].isdigit()]
    return sum(number % 2 == 0 for number in numbers) / len(numbers) - 0.5 if numbers else 0.0


def given(groups: Sequence[Ids], ragged: bool = False) -> list[Ids]:
    """The row's answers without EOS, all of one length, or each sibling three tokens shorter than the one before.

    Of answers of one length GRPO's first loss is the mean of advantages whose mean is 0 whatever they are.
    """
    return [
        Ids(prompt, [answer[: len(answer) - 1 - (3 * i if ragged else 0)] for i, answer in enumerate(answers)])
        for prompt, answers in groups
    ]


def agreement(task: Task, greedy: Sequence[Sampled], drawn: Sequence[Sampled]) -> dict[str, float]:
    """What a sampler reports: `loss`, mean -log p of the answers it writes at temperature 0, and `gap`.

    `gap` is how far its log-probabilities of what it drew lie from a plain forward pass of transformers: so
    both sides sample from the same distribution. Raises ValueError where it is more than GAP
    (GAP_BF16 in half precision).
    """
    logps = [logp for sampled in greedy for answer in sampled.logps for logp in answer]
    gap = widest(task, drawn)
    if not gap <= (GAP if task.dtype == "float32" else GAP_BF16):
        raise ValueError(f"the sampler's log-probabilities differ from a plain forward pass by {gap:.1e} nats")
    return {"loss": -sum(logps) / len(logps), "gap": gap}


def widest(task: Task, drawn: Sequence[Sampled]) -> float:
    """Largest difference, over all tokens, to the log-probabilities of a plain forward pass."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(task.model("policy"), dtype=torch.float32).to(task.device).eval()
    largest = 0.0
    for (prompt, _), sampled in zip(task.groups, drawn, strict=True):
        for answer, logps in zip(sampled.answers, sampled.logps, strict=True):
            expected = plain_logps(model, prompt, answer).cpu()
            largest = max(largest, float((expected - torch.tensor(logps, dtype=expected.dtype)).abs().max()))
    return largest


@torch.no_grad()
def plain_logps(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Log-probability of each token of an answer [T], by one forward pass over its whole row."""
    ids = torch.tensor([[*prompt, *answer]], device=getattr(model, "device", None))
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None]).squeeze(1)
