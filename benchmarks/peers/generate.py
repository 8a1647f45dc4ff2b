"""`transformers.generate` on the row's prompts: pure sampling, its own log-probabilities asked for the comparison only.

Every answer has a row of its own from the start: `num_return_sequences` computes the prompt once for each.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, CompileConfig, GenerationConfig

from benchmarks.rollouts import CHECKED, Sampled, agreement
from benchmarks.workload import PAD, Task


class Generate:
    """The model and its left-padded prompts."""

    def __init__(self, task: Task) -> None:
        self.task = task
        dtype = getattr(torch, task.dtype)
        self.model = AutoModelForCausalLM.from_pretrained(task.model("policy"), dtype=dtype).to(task.device).eval()
        # EOS is never an ending here: answers have the forced length.
        self.model.generation_config.eos_token_id = None
        prompts = [group.prompt for group in task.groups]
        width = max(map(len, prompts))
        padded = [[PAD] * (width - len(prompt)) + prompt for prompt in prompts]
        self.ids = torch.tensor(padded, device=task.device)
        self.attention = (self.ids != PAD).long()
        self.answers, self.length = task.work["answers"], task.work["answer"][1]
        self.seed = 0

    def loss(self) -> dict[str, float]:
        """Greedy and drawn answers with their log-probabilities."""
        greedy = self._generate(1, CHECKED, logps=True, do_sample=False)
        return agreement(self.task, self._sampled(greedy), self._sampled(self._draw(logps=True)))

    def step(self) -> dict[str, float]:
        """All answers of the row, once."""
        self._draw()
        return {}

    def _draw(self, logps: bool = False) -> Any:
        torch.manual_seed(self.seed)
        self.seed += 1
        return self._generate(self.answers, self.length, logps, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)

    @torch.inference_mode()
    def _generate(self, answers: int, length: int, logps: bool, **how: Any) -> Any:
        config = GenerationConfig(
            max_new_tokens=length, num_return_sequences=answers, pad_token_id=PAD, eos_token_id=None,
            cache_implementation=self.task.variant["cache"], return_dict_in_generate=True, output_logits=logps,
            disable_compile=not self.task.variant["compile"], **how,
        )  # fmt: skip
        if self.task.variant["compile"]:
            config.compile_config = CompileConfig(mode="default", fullgraph=False)
            config.compile_config._compile_all_devices = True  # elsewhere than on GPUs only if one insists
        return self.model.generate(input_ids=self.ids, attention_mask=self.attention, generation_config=config)

    def _sampled(self, output: Any) -> list[Sampled]:
        answers = output.sequences[:, self.ids.shape[1] :]
        logp = torch.log_softmax(torch.stack(output.logits, 1).float(), -1).gather(2, answers[..., None]).squeeze(2)
        each = len(answers) // len(self.ids)
        ids, logps = answers.tolist(), logp.tolist()
        return [Sampled(ids[i : i + each], logps[i : i + each]) for i in range(0, len(ids), each)]


def build(task: Task) -> Generate:
    """The sampler of a row."""
    return Generate(task)
