"""The rows: what is measured, against whom, and what must come out.

To add a row or a peer, add an entry here and a worker module (benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.workload import Work

Variants = Mapping[str, Mapping[str, Any]]
ONE: Variants = {"": {}}


@dataclass(frozen=True)
class Peer:
    """One side to compare with. Of its variants the fastest is kept (the leanest, where memory is measured)."""

    name: str
    env: str | None
    """Name of its pins in envs/; None: the project's own environment."""
    module: str | None
    """Worker module; None where a row has no second side."""
    minimum: float
    goal: float
    variants: Variants = field(default_factory=lambda: ONE)


@dataclass(frozen=True)
class Row:
    """One row of the table. `measure` names the module of benchmarks/ whose `run` measures it."""

    title: str
    work: Work
    peers: dict[str, Peer]
    measure: str = "paired"
    ours: str = "benchmarks.ours.training"
    variants: Variants = field(default_factory=lambda: ONE)
    """Of our side."""
    models: tuple[str, ...] = ("policy",)
    """Folders that the row needs: policy, reference, reward, critic."""
    passes: Mapping[str, float] = field(default_factory=dict)
    """Forward passes that are needed, by head, backward counting as two: what useful FLOPs are counted from."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters, the same on both sides."""
    sampled: bool = False
    """Whether tokens/s counts sampled tokens only; else each prompt once and every answer."""
    gradients: float | None = None
    """Largest relative difference of the two sides' gradient norms; None: it is only told."""
    unit: str = "x"
    """What the headline number is: `x` times as fast (or as lean), `share`, `exponent`. Lower is better only
    for an exponent."""
    notes: str = ""
    """What the reader must know about what each side does."""


SETTINGS: dict[str, Any] = {"lr": 1e-5, "betas": [0.9, 0.999], "eps": 1e-8, "max_grad_norm": 1.0}
PAIRS = Work(groups=16, prompt=(110, 220), answers=2, answer=(25, 90))
SAMPLED = Work(groups=8, prompt=(48, 68), answers=8, answer=(64, 64))
ONLINE = Work(groups=64, prompt=(48, 68), answers=1, answer=(64, 64))
SFT = Work(groups=16, prompt=(120, 200), answers=1, answer=(26, 86))

WHOLE = {"micro-batch": 16}
SMALLER = {f"micro-batches of {n}": {"micro-batch": n} for n in (8, 4, 2, 1)}
CUTS: Variants = {"one batch of 16": WHOLE, **SMALLER}
SFT_CUTS: Variants = {
    **CUTS,
    "micro-batches of 4, by length": {"micro-batch": 4, "by_length": True},
    "micro-batches of 2, by length": {"micro-batch": 2, "by_length": True},
    "micro-batches of 2, padding-free": {"micro-batch": 2, "padding_free": True},
    "one batch of 16, padding-free": {"micro-batch": 16, "padding_free": True},
}
LEAN_CUTS: Variants = {
    "one batch of 16": {**WHOLE, "precompute": False},
    "micro-batches of 1": {"micro-batch": 1, "precompute": False},
    "micro-batches of 1, reference asked once": {"micro-batch": 1, "precompute": True},
}
BUDGETS: Variants = {"at its defaults": {}, "token budget 512": {"token_budget": 512}}
RANKING_CUTS: Variants = {f"micro-batches of {n} pairs": {"micro-batch": n} for n in (96, 24, 6)}
GENERATE: Variants = {
    "dynamic cache": {"cache": "dynamic", "compile": False},
    "static cache": {"cache": "static", "compile": False},
    "static cache, compiled": {"cache": "static", "compile": True},
}
VLLM: Variants = {
    "compiled, blocks of 32, threads bound to cores": {"compiled": True, "block": 32, "bound": True},
    "compiled, blocks of 32": {"compiled": True, "block": 32, "bound": False},
    "compiled, blocks of 128": {"compiled": True, "block": 128, "bound": True},
    "eager, blocks of 32": {"compiled": False, "block": 32, "bound": True},
}
GRPO_CUTS: Variants = {
    "one batch of 64": {"micro-batch": 64},
    "one batch of 64, static cache": {"micro-batch": 64, "cache": "static"},
    **{f"micro-batches of {n}": {"micro-batch": n} for n in (32, 16, 8)},
}
PPO_CUTS: Variants = {
    "one batch of 64": {"micro-batch": 64, "forward": 64},
    "one batch of 64, rollouts by 32": {"micro-batch": 64, "forward": 32},
    **{f"micro-batches of {n}": {"micro-batch": n, "forward": 64} for n in (16, 8, 4)},
    "micro-batches of 8, rollouts by 16": {"micro-batch": 8, "forward": 16},
}


def _trl(minimum: float, goal: float, variants: Variants = CUTS) -> dict[str, Peer]:
    return {"trl": Peer("TRL 1.16", "trl", "benchmarks.peers.trl", minimum, goal, variants)}


def _ppo(minimum: float, goal: float) -> dict[str, Peer]:
    return {"trl": Peer("TRL 1.12", "trl112", "benchmarks.peers.ppo", minimum, goal, PPO_CUTS)}


def _self(minimum: float, goal: float) -> dict[str, Peer]:
    return {"self": Peer("itself", None, None, minimum, goal)}


EACH_STEP = {**SETTINGS, "beta": 0.1, "reference": "each step"}
ONCE = {**SETTINGS, "beta": 0.1, "reference": "once"}
PPO = {**SETTINGS, "max_grad_norm": 1e9, "kl_coef": 0.05}
"""TRL's PPOTrainer does not clip, so we must not either."""
PPO_MODELS = ("policy", "reward", "critic")
PPO_PASSES = {"lm": 5, "reward": 1, "value": 4}
DPO_MODELS = ("policy", "reference")

ROWS: dict[str, Row] = {
    "sft": Row("SFT step, ragged", SFT, _trl(2, 3, SFT_CUTS), passes={"lm": 3}, settings=SETTINGS),
    "reward": Row(
        "reward step, pairs", PAIRS, _trl(2, 3), models=("reward",), passes={"reward": 3},
        settings={**SETTINGS, "ceiling_model": "reward"},
    ),
    "rankings": Row(
        "reward step, rankings of 4", Work(16, (110, 220), 4, (25, 90)), _trl(5, 10, RANKING_CUTS), models=("reward",),
        passes={"reward": 3}, settings={**SETTINGS, "ceiling_model": "reward"},
        notes="All six pairs of each ranking. TRL takes pairs: 96 of them, 192 rows.",
    ),
    "dpo": Row(
        "DPO step", PAIRS, _trl(3, 5), models=DPO_MODELS, passes={"lm": 4}, settings=EACH_STEP,
        notes="Both sides ask the reference in every step: TRL's default, and more than Assent does (it asks once).",
    ),
    "dpo-cached": Row(
        "DPO step, reference asked once", PAIRS, _trl(3, 5), models=DPO_MODELS, passes={"lm": 3}, settings=ONCE,
        notes="Both sides have the reference's log-probabilities from before: Assent's way; TRL's is switched on.",
    ),
    "rollout": Row(
        "rollout", SAMPLED,
        {
            "hf": Peer("transformers.generate", None, "benchmarks.peers.generate", 2, 3.5, GENERATE),
            "vllm": Peer("vLLM-CPU 0.32", "vllm", "benchmarks.peers.vllm", 2, 3.5, VLLM),
        },
        ours="benchmarks.ours.rollout", passes={"lm": 1}, sampled=True,
        notes="Answers of forced length, temperature 1. The loss is the mean -log p of each side's greedy tokens; "
        "what a side draws agrees with a plain forward pass within 1e-4 nats on every token. Assent returns "
        "log-probabilities with its tokens; the peers are timed without them.",
    ),
    "grpo": Row(
        "GRPO step, whole", SAMPLED, {"trl": Peer("TRL 1.16", "trl", "benchmarks.peers.grpo", 3, 4, GRPO_CUTS)},
        ours="benchmarks.ours.grpo", passes={"lm": 4}, settings=SETTINGS, sampled=True, gradients=1e-4,
        notes="Sampling, a Python reward function, advantages, one update. Losses and gradient norms are compared "
        "for the same given answers; answers drawn have the forced length. TRL samples with transformers.generate.",
    ),
    "ppo": Row(
        "PPO step, whole, same settings", ONLINE, _ppo(1.8, 2.4), ours="benchmarks.ours.ppo",
        models=PPO_MODELS, passes=PPO_PASSES, settings={**PPO, "agree": "value"}, sampled=True,
        gradients=1e-3,
        notes="64 prompts, one answer each, a critic of its own, one update. Compared for the same given answers: "
        "value losses (the policy's first loss is 0 by construction) and gradient norms. Those of the policies differ "
        "by 1 / (2 x tokens): TRL whitens advantages with the sample variance, Assent with the population's.",
    ),
    "ppo-ours": Row(
        "PPO step, whole, our way", ONLINE, _ppo(3, 5), ours="benchmarks.ours.ppo",
        variants={"shared trunk": {"trunk": "shared"}, "4 answers a prompt": {"answers": 4}},
        models=PPO_MODELS, passes=PPO_PASSES, settings={**PPO, "agree": "score"}, sampled=True,
        notes="As many tokens sampled as in the row before, by TRL as there. With a shared trunk there is no critic to "
        "compare, so the mean scores of the same given answers are. The efficiency counts the arithmetic of the row "
        "before, of which this one needs less.",
    ),
    "memory": Row(
        "peak memory above import, DPO, vocabulary 128k", Work(16, (110, 220), 2, (25, 90), vocabulary=128256),
        {"trl": Peer("TRL 1.16", "trl", "benchmarks.peers.trl", 2, 3, LEAN_CUTS)},
        measure="memory", variants=BUDGETS, models=DPO_MODELS, passes={"lm": 3}, settings=ONCE,
        notes="Assent asks the reference once and drops it. TRL as it is by default, and with the reference asked once "
        "and dropped. The leanest way of each side counts.",
    ),
    "efficiency": Row(
        "arithmetic efficiency of SFT and DPO steps", SFT, _self(0.5, 0.65), measure="efficiency", unit="share",
    ),
    "scaling": Row(
        "cost as work grows", Work(4, (48, 68), 2, (64, 64)), _self(1.0, 1.0), measure="scaling",
        passes={"lm": 3}, settings=SETTINGS, unit="exponent",
    ),
    "ranks": Row(
        "SFT step, two processes of one thread", SFT,
        {"self": Peer("one process of one thread", None, "benchmarks.ranks", 1.5, 1.8, {"": {"ranks": 1}})},
        measure="ranks", ours="benchmarks.ranks", variants={"": {"ranks": 2}}, passes={"lm": 3}, settings=SETTINGS,
    ),
    "demo": Row("the demo's training and sampling seconds", SFT, _self(1.5, 2.0), measure="demo"),
}  # fmt: skip
