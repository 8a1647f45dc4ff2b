"""vLLM on the row's prompts, in this process: pure sampling, log-probabilities asked for the comparison only.

Token ids in and out, without tokenizer. Prefix caching is on, so the answers of a prompt share its full blocks (of
128 tokens by default on CPUs, more than a prompt has); what it holds of the prompts is dropped before each step,
as it must be where the weights change in between.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; there is none smaller
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}

from vllm import LLM, SamplingParams

from benchmarks.rollouts import CHECKED, Sampled, agreement
from benchmarks.workload import Task


class Vllm:
    """The engine and its prompts."""

    def __init__(self, task: Task) -> None:
        if task.device != "cpu":
            raise ValueError("the pinned vLLM is its CPU build")
        how = task.variant
        cores = sorted(os.sched_getaffinity(0))[: task.threads]
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores)) if how["bound"] else "nobind"
        self.task, self.prompts = task, [{"prompt_token_ids": group.prompt} for group in task.groups]
        self.answers, self.length = task.work["answers"], task.work["answer"][1]
        rows = len(self.prompts) * self.answers
        self.engine = LLM(
            model=task.model("policy"), dtype=task.dtype, seed=0, skip_tokenizer_init=True,
            enforce_eager=not how["compiled"], block_size=how["block"], enable_prefix_caching=True,
            max_num_seqs=rows, max_model_len=max(len(group.prompt) for group in task.groups) + self.length,
            disable_log_stats=True,
        )  # fmt: skip

    def loss(self) -> dict[str, float]:
        """Greedy and drawn answers with their log-probabilities."""
        greedy = self._generate(n=1, temperature=0.0, max_tokens=CHECKED, logprobs=0)
        drawn = self._generate(n=self.answers, temperature=1.0, max_tokens=self.length, logprobs=0)
        return agreement(self.task, _sampled(greedy), _sampled(drawn))

    def step(self) -> dict[str, float]:
        """All answers of the row, once."""
        if not self.engine.reset_prefix_cache():
            raise RuntimeError("vLLM has not dropped its prefix cache")
        began = time.perf_counter()
        self._generate(n=self.answers, temperature=1.0, max_tokens=self.length)
        return {"seconds": time.perf_counter() - began}

    def _generate(self, **how: Any) -> list[Any]:
        sampling = SamplingParams(top_k=0, top_p=1.0, ignore_eos=True, detokenize=False, **how)
        found: list[Any] = self.engine.generate(self.prompts, sampling, use_tqdm=False)
        return found


def _sampled(outputs: list[Any]) -> list[Sampled]:
    return [
        Sampled(
            [list(answer.token_ids) for answer in output.outputs],
            [
                [step[token].logprob for token, step in zip(answer.token_ids, answer.logprobs, strict=True)]
                for answer in output.outputs
            ],
        )
        for output in outputs
    ]


def build(task: Task) -> Vllm:
    """The sampler of a row."""
    return Vllm(task)
