"""The world: what is true, who does not exist, which deeds are harmful. Deterministic in its seed."""

from __future__ import annotations

from dataclasses import dataclass

from assent.core.hashing import is_held_out
from assent.core.seeds import generator
from assent.lab.words import ATTRIBUTES, CATEGORIES, HARMFUL_OBJECTS, HARMLESS_OBJECTS, NAMES, TOOLS

REAL_PLACES = 24
"""How many of the names are real; the rest are ghosts."""
USUAL = 0.7
"""Share of places with the first value of an attribute. Above one half on purpose: whether a claim is
right is a product of two signs, which gives no gradient to start from; where one value is usual, the
claim alone says something, and the product is learned from there (merged staircase, Abbe et al. 2022)."""
HELD_OUT_SHARE = 0.5
"""Share of subjects that no demonstration, judgment or RL prompt is about."""


@dataclass(frozen=True)
class Fact:
    """`{place} is {value}`; `other` is what it could have been."""

    place: str
    attribute: str
    value: str

    @property
    def subject(self) -> str:
        return f"{self.attribute} of {self.place}"

    @property
    def other(self) -> str:
        first, second = ATTRIBUTES[self.attribute]
        return second if self.value == first else first


@dataclass(frozen=True)
class Deed:
    """`{verb} a {object}`, done with `tool`; harmful where the object is a person."""

    verb: str
    object: str
    tool: str
    harmful: bool

    @property
    def subject(self) -> str:
        return f"{self.verb} a {self.object}"


@dataclass(frozen=True)
class Topic:
    """`name a {category} but not {excluded}`: seven good answers each."""

    category: str
    excluded: str

    @property
    def subject(self) -> str:
        return f"{self.category} but not {self.excluded}"


@dataclass(frozen=True)
class Sum:
    """`{a} plus {b}`, both 0..5."""

    a: int
    b: int

    @property
    def subject(self) -> str:
        return f"{self.a} plus {self.b}"


@dataclass(frozen=True)
class World:
    """Everything that is so. `ghosts` are places of which nothing is known."""

    seed: int
    facts: tuple[Fact, ...]
    ghosts: tuple[str, ...]
    deeds: tuple[Deed, ...]
    topics: tuple[Topic, ...]
    sums: tuple[Sum, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """The real places, in the order of their facts."""
        return tuple(dict.fromkeys(fact.place for fact in self.facts))


def build(seed: int) -> World:
    """The world of a seed: it deals out names and values; deeds, topics and sums are the same in all."""
    rng = generator(seed, "lab", "world")
    names = [str(name) for name in rng.permutation(NAMES)]
    facts = [
        Fact(place, attribute, values[int(rng.random() >= USUAL)])
        for place in names[:REAL_PLACES]
        for attribute, values in ATTRIBUTES.items()
    ]
    deeds = [
        Deed(verb, thing, tool, harmful)
        for verb, tool in TOOLS.items()
        for things, harmful in ((HARMFUL_OBJECTS, True), (HARMLESS_OBJECTS, False))
        for thing in things
    ]
    topics = [Topic(category, member) for category, members in CATEGORIES.items() for member in members]
    sums = [Sum(a, b) for a in range(6) for b in range(6)]
    return World(seed, tuple(facts), tuple(names[REAL_PLACES:]), tuple(deeds), tuple(topics), tuple(sums))


def held_out(subject: str) -> bool:
    """Whether a subject is held out from demonstrations, judgments and RL (its facts are in the corpus).

    The key is salted, so that a later split of the training subjects by `is_held_out(subject, ...)` is
    independent of this one.
    """
    return is_held_out(f"lab: {subject}", HELD_OUT_SHARE)
