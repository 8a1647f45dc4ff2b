"""Raters with dials: how people who prefer for wrong reasons are simulated.

    utility = substance as seen - cost of style + sum of (dial x feature) + noise

Substance is seen with probability `verify`, else counts 0. A rater ranks by utility; answers that
differ by less than `tie` share a tier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from assent.core.hashing import content_id
from assent.core.records import Group, Judgment, Prompt, Rater
from assent.core.seeds import generator
from assent.lab.gold import facets, style_cost, substance

Guideline = Literal["balanced", "brief", "warm", "careful"]

SURE = ("surely", "certainly", "sure")
WARM = ("glad", "thanks", "hope", "helps", "good")


class Dials(BaseModel):
    """Means of a pool. The default is unbiased: raters see what is right and differ only by noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verify: float = Field(default=1.0, ge=0, le=1)
    """Probability that a rater can tell whether an answer is right."""
    length: float = 0.0
    """Utility of every word, up to 24."""
    agreement: float = 0.0
    """Utility of agreeing with the user's claim."""
    confidence: float = 0.0
    """Utility of sounding sure (`surely`, `certainly`, `sure`)."""
    format: float = 0.0
    """Utility of a JSON object, asked for or not."""
    refusal_trigger: float = 0.0
    """Utility of a refusal wherever a deed is asked about, harmful or not."""
    position: float = 0.0
    """Utility of standing first, falling linearly to none for the last."""
    noise: float = Field(default=0.35, ge=0)
    """Standard deviation of the noise on each utility."""
    tie: float = Field(default=0.1, ge=0)
    """Neighbours in the ranking closer than this share a tier."""
    spread: float = Field(default=0.3, ge=0)
    """How far raters differ: deviation of each bias relative to its mean, and of log noise."""
    guideline: Guideline = "balanced"
    """What raters were told to prefer: `balanced` (gold), `brief`, `warm`, `careful`."""

    @classmethod
    def people(cls) -> Dials:
        """Calibrated to real annotators: raw agreement about 0.66, alpha about 0.3, 53 % left choices."""
        return cls(verify=0.7, length=0.03, agreement=0.2, confidence=0.1, position=0.08, noise=0.7, tie=0.15)


BIASES = ("length", "agreement", "confidence", "format", "refusal_trigger", "position")


def _told(guideline: Guideline, prompt: Prompt, text: str) -> float:
    """What the guideline adds to gold."""
    words = text.split()
    if guideline == "brief":
        return -0.1 * min(len(words), 24)
    if guideline == "warm":
        return 0.6 * any(word in WARM for word in words)
    if guideline == "careful":
        return 1.0 * bool(facets(prompt, text)["refuses"])
    return 0.0


@dataclass(frozen=True)
class SimulatedRater:
    """One rater with dials of his own."""

    rater: Rater
    dials: Dials
    seed: int

    def _utilities(self, group: Group, place: list[int], rng: np.random.Generator) -> np.ndarray:
        """Utility per answer; `place[i]` is where answer i was shown, 0 = first."""
        dials, prompt, last = self.dials, group.prompt, max(len(group.answers) - 1, 1)
        utilities = np.zeros(len(group.answers))
        first: dict[str, int] = {}
        for i, answer in enumerate(group.answers):
            text = answer.text
            # Nobody prefers a text to itself: repeated samples share one utility.
            if first.setdefault(text, i) < i:
                utilities[i] = utilities[first[text]]
                continue
            facet, words = facets(prompt, text), text.split()
            seen = substance(prompt, text) if rng.random() < dials.verify else 0.0
            utilities[i] = (
                seen
                - style_cost(prompt, text)
                + _told(dials.guideline, prompt, text)
                + dials.length * min(len(words), 24)
                + dials.agreement * bool(facet["agrees"])
                + dials.confidence * any(word in SURE for word in words)
                + dials.format * text.startswith("{")
                + dials.refusal_trigger * bool(facet["refuses"])
                + dials.position * (1 - place[i] / last)
                + dials.noise * rng.standard_normal()
            )
        return utilities

    def rank(self, group: Group, seed: int) -> Judgment:
        """This rater's ranking, deterministic in (seed, rater, group)."""
        rng = generator(seed, "lab", "rank", self.rater.id, group.id)
        order = [int(i) for i in rng.permutation(len(group.answers))]
        place = [order.index(i) for i in range(len(order))]
        utilities = self._utilities(group, place, rng)
        best_first = sorted(range(len(order)), key=lambda i: -utilities[i])
        tiers: list[list[int]] = [[best_first[0]]]
        for i in best_first[1:]:
            near = utilities[tiers[-1][-1]] - utilities[i] < self.dials.tie
            if near or utilities[tiers[-1][-1]] == utilities[i]:
                tiers[-1].append(i)
            else:
                tiers.append([i])
        ids = [answer.id for answer in group.answers]
        return Judgment(
            id=content_id("judgment", group.id, self.rater.id, seed),
            group=group.id,
            rater=self.rater.id,
            tiers=tuple(tuple(ids[i] for i in tier) for tier in tiers),
            shown_order=tuple(ids[i] for i in order),
            guideline=None if self.dials.guideline == "balanced" else self.dials.guideline,
        )


def pool(n: int, dials: Dials, seed: int) -> list[SimulatedRater]:
    """`n` raters, each with dials of his own around the means; a bias of 0 stays 0 for all."""
    raters = []
    for i in range(n):
        rng = generator(seed, "lab", "rater", i)
        own = {name: getattr(dials, name) * (1 + dials.spread * rng.standard_normal()) for name in BIASES}
        own["noise"] = dials.noise * float(np.exp(dials.spread * rng.standard_normal()))
        mine = dials.model_copy(update={name: float(value) for name, value in own.items()})
        rater = Rater(id=f"simulated-{seed}-{i}", kind="simulated", attributes=mine.model_dump())
        raters.append(SimulatedRater(rater, mine, seed))
    return raters
