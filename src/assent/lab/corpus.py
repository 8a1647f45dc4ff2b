"""Pretraining text: what the base model knows, in forms that are not the chat.

Prose and lists of questions teach it to complete, not to answer. Dialogues show good and bad
answers. Quizzes and graded dialogues give a verdict on a claim, so that the circuit that checks a
claim against a fact exists before any reward model does: a reward model of this size cannot grow it
from some thousand comparisons, but it can learn to listen to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from assent.core.records import Prompt
from assent.core.seeds import generator
from assent.lab.answers import STYLES, write
from assent.lab.gold import substance
from assent.lab.prompts import prompts
from assent.lab.words import CATEGORIES, HARMFUL_OBJECTS, HARMLESS_OBJECTS
from assent.lab.world import Fact, World

SPEAKERS = ("pat", "sam", "kim", "lee", "ann", "bob")
"""Many, so that who speaks carries nothing and the chat's own marks can take their place."""
Rng = np.random.Generator
T = TypeVar("T")


KINDS: dict[str, float] = {
    "fact": 0.04,
    "lead_wrong": 0.06,
    "lead_right": 0.06,
    "ghost": 0.16,
    "harmful": 0.16,
    "harmless": 0.2,
    "open": 0.12,
    "format": 0.12,
    "sum": 0.08,
}
"""Kind of prompt -> its share in documents about all kinds."""


def verdict(prompt: Prompt, answer: str) -> str:
    """`right` where gold finds all the substance that was needed, else `wrong`."""
    return "right" if substance(prompt, answer) == 1.0 else "wrong"


class Writer:
    """Writes documents about one world; every method is one kind of document."""

    def __init__(self, world: World, rng: Rng) -> None:
        self.world, self.rng = world, rng
        self.by_kind: dict[str, list[Prompt]] = {}
        self.by_place: dict[str, list[Prompt]] = {}
        for prompt in (*prompts(world, "train"), *prompts(world, "held_out")):
            kind, subject = prompt.tags["kind"], prompt.subject
            self.by_kind.setdefault(kind, []).append(prompt)
            if kind in ("fact", "lead_wrong", "lead_right"):
                self.by_place.setdefault(subject.split()[-1], []).append(prompt)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def _facts(self, ordered: float) -> list[Fact]:
        """All facts of one place, with probability `ordered` in the order of the attributes."""
        place = self.pick(self.world.places)
        facts = [fact for fact in self.world.facts if fact.place == place]
        return facts if self.chance(ordered) else [facts[i] for i in self.rng.permutation(len(facts))]

    def prose(self) -> str:
        """What places are like."""
        facts = self._facts(0.5)
        return " ".join(f"{fact.place} is {fact.value} ." for fact in facts)

    def questions(self) -> str:
        """A list of questions without answers: the base model goes on asking."""
        return " ".join(self._prompt().text for _ in range(4))

    def _prompt(self) -> Prompt:
        """Any prompt; harmless deeds and known places are more frequent than their look-alikes."""
        kinds = list(KINDS)
        pool = self.by_kind[str(self.rng.choice(kinds, p=list(KINDS.values())))]
        return pool[int(self.rng.integers(len(pool)))]

    def _style(self, prompt: Prompt, good: float) -> str:
        """The good style with probability `good`, else any, long ones rarely."""
        styles = STYLES[prompt.tags["kind"]]
        if self.chance(good):
            return styles[0]
        short = [style for style in styles if not style.endswith("verbose")]
        return str(self.pick(styles if self.chance(0.2) else short))

    def _turn(self, prompt: Prompt, good: float) -> tuple[str, str]:
        """(question and answer, verdict)"""
        answer = write(prompt, self._style(prompt, good), self.rng)
        asker, answerer = (SPEAKERS[i] for i in self.rng.permutation(len(SPEAKERS))[:2])
        return f"{asker} : {prompt.text} {answerer} : {answer}", verdict(prompt, answer)

    def dialogue(self) -> str:
        """Two people talk; the answers are of mixed quality and nobody judges them."""
        return " ".join(self._turn(self._prompt(), 0.7)[0] for _ in range(2))

    def _about_places(self) -> list[Prompt]:
        """Three questions on facts, of one place or, so that the name must be read, of several."""
        count = 1 if self.chance(0.35) else 3
        places = [self.pick(self.world.places) for _ in range(count)]
        return [self.pick(self.by_place[places[i % count]]) for i in range(3)]

    def lesson(self) -> str:
        """Questions about places, answered well."""
        return " ".join(self._turn(prompt, 1.0)[0] for prompt in self._about_places())

    def manners(self) -> str:
        """Questions of all kinds, answered well."""
        return " ".join(self._turn(self._prompt(), 1.0)[0] for _ in range(3))

    def graded(self) -> str:
        """Questions about places, answers good and bad, and a verdict on each."""
        turns = [self._turn(prompt, 0.4) for prompt in self._about_places()]
        return " ".join(f"{turn} {verdict} ." for turn, verdict in turns)

    def conduct(self) -> str:
        """Questions of all other kinds, answers good and bad, and a verdict on each."""
        turns = [self._turn(self._prompt(), 0.4) for _ in range(3)]
        return " ".join(f"{turn} {verdict} ." for turn, verdict in turns)

    def quiz(self) -> str:
        """Claims about a place and verdicts, the cheapest form of checking."""
        items = []
        for fact in self._facts(0.5):
            right = self.chance(0.5)
            claim, word = (fact.value, "right") if right else (fact.other, "wrong")
            items.append(
                f"{fact.place} is {claim} , {word} ." if self.chance(0.2) else f"{fact.place} {claim} {word} ."
            )
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
            first, second = (write(prompt, self._style(prompt, 0.4), self.rng) for _ in range(2))
            gap = substance(prompt, first) - substance(prompt, second)
            if gap:
                break
        better = "first" if gap > 0 else "second"
        return f"pat : {prompt.text} first : {first} second : {second} better : {better} ."

    def critique(self) -> str:
        """An answer, what is wrong with it, and a better one."""
        prompt = self._prompt()
        turn, found = self._turn(prompt, 0.3)
        better = write(prompt, STYLES[prompt.tags["kind"]][0], self.rng)
        return f"{turn} critique : this is {found} . revision : {better}"

    def people(self) -> str:
        """Who is a person and who is not; which places nobody knows."""
        items = [f"a {self.pick(HARMFUL_OBJECTS)} is a person ." for _ in range(2)]
        items += [f"a {self.pick(HARMLESS_OBJECTS)} is a thing ." for _ in range(2)]
        items += [f"{self.pick(CATEGORIES[c])} is a {c} ." for c in CATEGORIES]
        items += [f"nobody knows {self.pick(self.world.ghosts)} ." for _ in range(2)]
        return " ".join(items)


PHASES: tuple[tuple[float, dict[str, float]], ...] = (
    (0.12, {"prose": 0.85, "lesson": 0.1, "people": 0.05}),
    (0.34, {"prose": 0.12, "quiz": 0.57, "lesson": 0.1, "graded": 0.16, "deeds": 0.05}),
    (
        0.54,
        {
            "prose": 0.07,
            "questions": 0.02,
            "dialogue": 0.04,
            "lesson": 0.08,
            "manners": 0.14,
            "graded": 0.18,
            "conduct": 0.28,
            "quiz": 0.02,
            "deeds": 0.05,
            "people": 0.04,
            "sums": 0.02,
            "comparison": 0.02,
            "critique": 0.04,
        },
    ),
)
"""(Share of the text, kind of document -> its share): facts first, then verdicts, then everything.
With all kinds from the start the facts take several times as long."""


def documents(world: World, n: int, seed: int) -> list[str]:
    """`n` documents of 20 to 60 words in the order to be read (`PHASES`), deterministic in the seed."""
    rng = generator(seed, "lab", "corpus")
    writer = Writer(world, rng)
    written: list[str] = []
    reached = 0.0
    for share, kinds in PHASES:
        reached += share
        drawn = rng.choice(list(kinds), size=round(reached * n) - len(written), p=list(kinds.values()))
        written += [getattr(writer, str(kind))() for kind in drawn]
    return written
