"""Pretraining text: what the base model knows, in forms that are not the chat.

Prose and lists of questions teach it to complete, not to answer. Dialogues show good and bad
answers. Quizzes and graded dialogues give a verdict on a claim, so that the circuit that checks a
claim against a fact exists before any reward model does: a reward model of this size cannot grow it
from some thousand comparisons, but it can learn to listen to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from assent.core.records import Prompt
from assent.core.seeds import generator
from assent.lab.answers import STYLES, write
from assent.lab.gold import substance
from assent.lab.prompts import prompts
from assent.lab.words import HARMFUL_OBJECTS, HARMLESS_OBJECTS
from assent.lab.world import Fact, World

Rng = np.random.Generator


class Writer:
    """Writes documents about one world; every method is one kind of document."""

    def __init__(self, world: World, rng: Rng) -> None:
        self.world, self.rng = world, rng
        self.by_kind: dict[str, list[Prompt]] = {}
        for split in ("train", "held_out"):
            for prompt in prompts(world, split):
                self.by_kind.setdefault(prompt.tags["kind"], []).append(prompt)

    def pick(self, options: tuple | list):  # type: ignore[type-arg, no-untyped-def]
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def prose(self) -> str:
        """What places are like."""
        items = []
        for _ in range(4):
            place = self.pick(self.world.places)
            facts = [fact for fact in self.world.facts if fact.place == place]
            first, second, third = (facts[i].value for i in self.rng.permutation(len(facts))[:3])
            items.append(f"{place} is {first} , {second} and {third} .")
        return " ".join(items)

    def questions(self) -> str:
        """A list of questions without answers: the base model goes on asking."""
        return " ".join(self._prompt().text for _ in range(4))

    def _prompt(self) -> Prompt:
        weights = {"fact": 4, "lead_wrong": 4, "lead_right": 4, "ghost": 2, "harmful": 2, "harmless": 2,
                   "open": 1, "format": 1, "sum": 1}
        kinds = list(weights)
        shares = np.array(list(weights.values()), dtype=float)
        return self.pick(self.by_kind[str(self.rng.choice(kinds, p=shares / shares.sum()))])

    def _answer(self, prompt: Prompt, good: float) -> str:
        styles = STYLES[prompt.tags["kind"]]
        style = styles[0] if self.chance(good) else self.pick(styles)
        return write(prompt, str(style), self.rng)

    def dialogue(self) -> str:
        """Two people talk; the answers are of mixed quality and nobody judges them."""
        turns = []
        for _ in range(2):
            prompt = self._prompt()
            turns.append(f"pat : {prompt.text} sam : {self._answer(prompt, 0.7)}")
        return " ".join(turns)

    def graded(self) -> str:
        """Questions, answers, and a teacher's verdict."""
        turns = []
        for _ in range(2):
            prompt = self._prompt()
            answer = self._answer(prompt, 0.3)
            verdict = "right" if substance(prompt, answer) == 1.0 else "wrong"
            turns.append(f"pat : {prompt.text} sam : {answer} teacher : {verdict} .")
        return " ".join(turns)

    def quiz(self) -> str:
        """Bare claims and verdicts, the cheapest form of checking."""
        items = []
        for _ in range(6):
            fact = self.pick(self.world.facts)
            right = self.chance(0.5)
            claim, verdict = (fact.value, "right") if right else (fact.other, "wrong")
            items.append(f"{fact.place} is {claim} ? {verdict} .")
        return " ".join(items)

    def deeds(self) -> str:
        """What is done with which tool, and what must never be done."""
        items = []
        for _ in range(4):
            deed = self.pick(self.world.deeds)
            if deed.harmful:
                items.append(f"never {deed.verb} a {deed.object} : a {deed.object} is a person .")
            else:
                items.append(f"to {deed.verb} a {deed.object} , use a {deed.tool} : a {deed.object} is a thing .")
        return " ".join(items)

    def sums(self) -> str:
        """Small sums."""
        return " ".join(f"{s.a} plus {s.b} is {s.a + s.b} ." for s in (self.pick(self.world.sums) for _ in range(6)))

    def comparison(self) -> str:
        """Two answers and which is better."""
        prompt = self._prompt()
        while True:
            first, second = self._answer(prompt, 0.4), self._answer(prompt, 0.4)
            gap = substance(prompt, first) - substance(prompt, second)
            if gap:
                break
        better = "first" if gap > 0 else "second"
        return f"pat : {prompt.text} first : {first} second : {second} better : {better} ."

    def critique(self) -> str:
        """An answer, what is wrong with it, and a better one."""
        prompt = self._prompt()
        answer = self._answer(prompt, 0.3)
        good = write(prompt, STYLES[prompt.tags["kind"]][0], self.rng)
        if substance(prompt, answer) == 1.0:
            return f"pat : {prompt.text} sam : {answer} critique : this is right . revision : {answer}"
        return f"pat : {prompt.text} sam : {answer} critique : this is wrong . revision : {good}"

    def people(self) -> str:
        """Who is a person and who is not; which places nobody knows."""
        items = [f"a {self.pick(HARMFUL_OBJECTS)} is a person ." for _ in range(2)]
        items += [f"a {self.pick(HARMLESS_OBJECTS)} is a thing ." for _ in range(2)]
        items += [f"nobody knows {self.pick(self.world.ghosts)} ." for _ in range(2)]
        return " ".join(items)


SHARES: dict[str, float] = {
    "prose": 0.2,
    "questions": 0.05,
    "dialogue": 0.15,
    "graded": 0.25,
    "quiz": 0.18,
    "deeds": 0.04,
    "sums": 0.03,
    "comparison": 0.04,
    "critique": 0.04,
    "people": 0.02,
}
"""Kind of document -> its share."""


def documents(world: World, n: int, seed: int) -> list[str]:
    """`n` documents of 20 to 60 words, kinds by `SHARES`, deterministic in the seed."""
    rng = generator(seed, "lab", "corpus")
    writer = Writer(world, rng)
    kinds: dict[str, Callable[[], str]] = {kind: getattr(writer, kind) for kind in SHARES}
    drawn = rng.choice(list(SHARES), size=n, p=list(SHARES.values()))
    return [kinds[str(kind)]() for kind in drawn]
