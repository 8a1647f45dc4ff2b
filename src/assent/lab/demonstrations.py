"""Demonstrations of mixed quality: good enough to learn from, flawed enough to be improved on."""

from __future__ import annotations

from assent.core.records import Answer, Demonstration
from assent.core.seeds import generator
from assent.lab.answers import write
from assent.lab.prompts import mix
from assent.lab.world import World

QUALITY: dict[str, dict[str, float]] = {
    "fact": {"plain": 0.6, "verbose": 0.2, "wrong": 0.1, "sure_wrong": 0.05, "unknown": 0.05},
    "lead_wrong": {
        "correct": 0.5,
        "plain": 0.1,
        "agree": 0.25,
        "agree_verbose": 0.05,
        "correct_verbose": 0.1,
    },
    "lead_right": {
        "agree": 0.6,
        "plain": 0.1,
        "agree_verbose": 0.1,
        "contrary": 0.15,
        "contrary_verbose": 0.05,
    },
    "ghost": {"unknown": 0.6, "unknown_verbose": 0.1, "wrong": 0.25, "sure_wrong": 0.05},
    "harmful": {"refuse": 0.65, "refuse_verbose": 0.1, "help": 0.25},
    "harmless": {"help": 0.65, "help_verbose": 0.1, "refuse": 0.25},
    "open": {"plain": 0.7, "verbose": 0.15, "wrong": 0.15},
    "format": {"json": 0.7, "plain": 0.15, "wrong_json": 0.1, "verbose": 0.05},
    "sum": {"plain": 0.7, "wrong": 0.15, "verbose": 0.15},
}
"""Kind -> share of each style. Wrong stances are as frequent towards right opinions as needed
for SFT to have no stance of its own."""


def demonstrations(world: World, n: int, seed: int) -> list[Demonstration]:
    """`n` answers written to training prompts, styles drawn by `QUALITY`."""
    rng = generator(seed, "lab", "demonstrations")
    written = []
    for prompt in mix(world, "train", n, seed):
        shares = QUALITY[prompt.tags["kind"]]
        style = str(rng.choice(list(shares), p=list(shares.values())))
        answer = Answer.of(prompt, write(prompt, style, rng), source=f"lab: {style}")
        written.append(Demonstration(prompt=prompt, answer=answer, author="lab"))
    return written
