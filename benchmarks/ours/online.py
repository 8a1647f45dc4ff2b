"""What our sides of the GRPO and PPO rows share: a method's real `batches` through the one loop's `update`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from assent.config.blocks import Limits
from assent.core.records import Answer, Group, Prompt, sampled_answer_id
from assent.data.collate import TokenGroup
from assent.data.render import encode_prompts, tokenizer_fingerprint
from assent.engine import score_all
from assent.engine.generate import LocalGenerator, Sampled
from assent.methods.grpo import Grpo
from assent.methods.ppo import Ppo
from assent.models.load import load_policy, load_tokenizer
from assent.train.loop import accumulate, update
from assent.train.optimiser import adamw
from benchmarks.ours.training import optimiser
from benchmarks.rollouts import endless
from benchmarks.workload import Ids, Task, text


class Online:
    """A method whose batches it samples itself; each step is one whole iteration."""

    def __init__(self, method: Grpo | Ppo, token_budget: int, answers: Sequence[Ids]) -> None:
        self.method, self.token_budget, self.answers = method, token_budget, answers
        self.optimisers = {name: adamw(module, method.optimisers[name]) for name, module in method.modules.items()}
        self.steps = 0

    def step(self) -> dict[str, float]:
        """Sample, score, credit, update, as the loop does it."""
        losses = []
        for batch in self.method.batches(self.steps):
            batch.result = update(self.method, self.optimisers, batch, self.token_budget)
            losses.append(batch.result["loss"])
        self.method.observe(self.steps)
        self.steps += 1
        return {"loss": sum(losses) / len(losses)}

    def first(self) -> tuple[dict[str, float], dict[str, float]]:
        """Figures of the first update and gradient norms by module, for given answers in place of drawn ones."""
        method = self.method
        generator, prompts = method.generator, method.prompts
        method.generator, method.prompts = Given(generator, self.answers), ask(self.answers)
        config = method.config
        method.config = config.model_copy(
            update={"prompts": len(self.answers), "answers": len(self.answers[0].answers)}
        )
        figures = accumulate(method, next(iter(method.batches(0))), self.token_budget) | method._figures
        method.generator, method.prompts, method.config = generator, prompts, config
        return figures, {name: _norm(module) for name, module in method.modules.items()}


class Given(LocalGenerator):
    """Gives the row's answers, with the log-probabilities of a scoring pass, as if it had drawn them."""

    def __init__(self, generator: LocalGenerator, answers: Sequence[Ids]) -> None:
        vars(self).update(vars(generator))
        self._answers = answers

    def draw(self, prompts: Sequence[Prompt], n: int, seed: int, source: str | None = None) -> Sampled:
        """The answers of the row, in the order of the prompts."""
        by_prompt = {tuple(ids.prompt): ids.answers for ids in self._answers}
        mark = tokenizer_fingerprint(self.tokenizer)
        groups, tokens = [], []
        for prompt, ids in zip(prompts, encode_prompts(prompts, self.tokenizer), strict=True):
            answers = [tuple(answer) for answer in by_prompt[tuple(ids)]]
            names = tuple(sampled_answer_id(prompt, "given", seed, i) for i in range(len(answers)))
            records = tuple(
                Answer(id=name, text=text(list(answer)), token_ids=answer, tokenizer=mark, finish="length")
                for name, answer in zip(names, answers, strict=True)
            )
            groups.append(Group(prompt=prompt, answers=records))
            tokens.append(TokenGroup(groups[-1].id, tuple(ids), tuple(answers), names))
        logp_NT = score_all(self.model, tokens, self._budget).logp_NT
        assert logp_NT is not None
        rows = iter(logp_NT.tolist())
        logps = [[tuple(next(rows)[: len(answer)]) for answer in group.answers] for group in tokens]
        return Sampled(groups, tokens, logps)


def ask(groups: Sequence[Ids]) -> list[Prompt]:
    """The prompts of the row."""
    return [Prompt.of(text(group.prompt)) for group in groups]


def generator_of(task: Task, sampling: Any, token_budget: int) -> LocalGenerator:
    """The policy as a sampler whose answers have the forced length."""
    policy, tokenizer = load_policy(task.model("policy")), load_tokenizer(task.model("policy"))
    endless(policy, tokenizer)
    return LocalGenerator(policy, tokenizer, "bench", sampling, token_budget)


def settings(task: Task, answers: int, **more: Any) -> dict[str, Any]:
    """Settings of both methods: one update on all answers of an iteration."""
    sampled = task.work["groups"] * task.work["answers"]
    return {
        "from": {"policy": "sft"},
        "rewards": [{"function": "benchmarks.rollouts:even_words"}],
        "prompts": sampled // answers,
        "answers": answers,
        "iterations": 10**9,
        "epochs": 1,
        "minibatches": 1,
        "no_eos_penalty": 0.0,
        "sampling": {"max_tokens": task.work["answer"][1], "temperature": 1.0},
        "optimiser": optimiser(task),
        "limits": {"token_budget": task.variant.get("token_budget", Limits().token_budget)},
        **more,
    }


def _norm(module: torch.nn.Module) -> float:
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    for parameter in module.parameters():
        parameter.grad = None
    return norm
