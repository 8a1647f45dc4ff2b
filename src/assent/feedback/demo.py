"""A filled project to look at: simulated raters with known habits judge real-looking texts over a week.

Each rater is drawn from the model that `stats/rater_model.py` fits, so what the lead's pages say of a person can be
held against the traits that stand here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from random import Random
from typing import Any

import yaml

from assent.core.records import Answer, Group, Judgment, Prompt, Rater
from assent.feedback import contests, gold
from assent.feedback.attributes import set_attributes
from assent.feedback.records import Assignment, Person, Role, Verdict, Wait
from assent.feedback.store import Store

DAYS = 6
WEEK_AGO = DAYS * 24 * 3600.0


@dataclass(frozen=True)
class Habits:
    """A simulated rater: how sharply he sees quality, his pull to the first-shown and to the longer answer (logits)."""

    name: str
    skill: float
    side: float = 0.0
    length: float = 0.0
    seconds: float = 30.0
    """Typical working time of one item."""
    share: float = 1.0
    """How often he is there."""
    language: str = "the language of the answers"


RATERS = (
    Habits("Bea", 1.6),
    Habits("Cem", 1.4, seconds=22),
    Habits("Dana", 1.0, side=2.5),
    Habits("Emre", 1.2, length=1.5, seconds=18),
    Habits("Fay", 0.4, seconds=9),
    Habits("Gus", 1.3, seconds=41),
    *(Habits(name, 1.1, share=0.2, language="another one") for name in ("Ines", "Jun", "Kofi", "Lena", "Mira")),
)
LEAD, REVIEWER = "Ada", "Hana"


class DemoClock:
    """Unix time that the demonstration moves; `live` follows the real one again."""

    def __init__(self, real: Any) -> None:
        self._real, self._behind = real, WEEK_AGO

    def __call__(self) -> float:
        """Seconds now."""
        return float(self._real()) - self._behind

    def forward(self, seconds: float) -> None:
        """Let time pass, never beyond the real one."""
        self._behind = max(0.0, self._behind - seconds)

    def live(self) -> None:
        """From now on as everybody's."""
        self._behind = 0.0


def fill(store: Store, clock: DemoClock, password: str, seed: int = 0) -> dict[str, Person]:
    """Fill an empty store; people by name, all with the same password."""
    draw = Random(seed)
    texts = yaml.safe_load(files("assent.feedback").joinpath("demo.yaml").read_text(encoding="utf-8"))
    people = {
        name: store.accept(store.invite(role, None), name, password)
        for name, role in [(LEAD, Role.lead), (REVIEWER, Role.reviewer), *((r.name, Role.rater) for r in RATERS)]
    }
    texts["prompts"] += _sums(draw)
    lead = people[LEAD].id
    _known(store, texts["quiz"], people[LEAD], quiz=True)
    _known(store, texts["gold"], people[LEAD], quiz=False)
    quality = _queue(store, texts, lead)
    for half, text in enumerate(texts["guidelines"]):
        version = store.add_guideline(text.strip(), "What a better answer is", lead)
        for person in people.values():
            store.read_guideline(person, version)
        _work(store, clock, people, quality, draw, acts=(280, 480)[half])
    _reward_model(store, quality, draw)
    _contest(store, people)
    for habits in RATERS:
        set_attributes(store, people[habits.name], {"first language": habits.language})
    rest = [_group(Prompt.ask(row["prompt"]), list(row["answers"])[:2]) for row in _sums(draw, 8)]
    store.add_groups(rest, "compare", overlap=2, by=lead)  # so that whoever looks has something to judge
    clock.live()
    return people


def _sums(draw: Random, n: int = 26) -> list[dict[str, Any]]:
    """Prompts with a plain, a wrong and a long-winded answer, so that there is enough to fit raters on."""
    made = []
    for _ in range(n):
        a, b = draw.randint(12, 88), draw.randint(12, 88)
        long = f"To add {a} and {b} we first add the tens, then the ones, and so we find that the sum is {a + b}."
        answers = {f"{a} + {b} = {a + b}.": 3, f"{a} + {b} = {a + b + draw.choice((-10, -1, 1, 10))}.": 0, long: 2}
        made.append({"prompt": f"What is {a} plus {b}?", "answers": answers})
    return made


def _group(prompt: Prompt, answers: list[str]) -> Group:
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(answers)))


def _known(store: Store, rows: list[dict[str, Any]], lead: Person, quiz: bool) -> None:
    for row in rows:
        best = sorted(row["answers"], key=row["answers"].get, reverse=True)
        group = _group(Prompt.ask(row["prompt"]), list(row["answers"]))
        ids = {answer.text: answer.id for answer in group.answers}
        gold.add(store, [gold.Known(group, tuple((ids[text],) for text in best), row["why"])], quiz, lead)


def _queue(store: Store, texts: dict[str, Any], lead: str) -> dict[str, float]:
    """Put everything in the queue; text of an answer -> how good it is."""
    quality: dict[str, float] = {}
    for part in ("quiz", "gold", "prompts", "sensitive"):
        for row in texts[part]:
            quality |= row["answers"]
    pairs, ranks = [], []
    for n, row in enumerate(texts["prompts"]):
        prompt = Prompt.ask(row["prompt"])
        if n % 4 == 3:
            ranks.append(_group(prompt, list(row["answers"])))
        else:
            pairs += [_group(prompt, list(two)) for two in combinations(row["answers"], 2)]
    for row in texts["sensitive"]:
        pairs.append(_group(Prompt.ask(row["prompt"], sensitive=row["category"]), list(row["answers"])))
    store.add_groups(pairs, "compare", overlap=6, by=lead)
    store.add_groups(ranks, "rank", overlap=4, by=lead)
    store.add_prompts([Prompt.ask(text) for text in texts["write"]], overlap=2, by=lead)
    return quality


def _work(
    store: Store, clock: DemoClock, people: dict[str, Person], quality: dict[str, float], draw: Random, acts: int
) -> None:
    """`acts` verdicts by raters who come and go, over half of the week."""
    for _ in range(acts):
        (habits,) = draw.choices(RATERS, [habits.share for habits in RATERS])
        clock.forward(WEEK_AGO / 2 / acts)
        item = store.next(people[habits.name])
        if isinstance(item, Wait):
            continue
        verdict = _verdict(item, habits, quality, draw, clock())
        store.submit(people[habits.name], item.id, f"demo-{item.id}"[:64], verdict)


def _verdict(item: Assignment, habits: Habits, quality: dict[str, float], draw: Random, now: float) -> Verdict:
    spent = habits.seconds * draw.lognormvariate(0, 0.4)
    times = {"shown": now - spent, "submitted": now}
    common: dict[str, Any] = {"times": times, "visible_ms": 1000 * spent}
    if item.kind == "write":
        return Verdict(ideal=f"{item.group.prompt.text} - as {habits.name} would say it.", **common)
    if draw.random() < 0.03:
        return Verdict(outcome="skip", reasons=("skip:unsure",), **common)
    text = {answer.id: answer.text for answer in item.group.answers}
    worth = {a: _worth(text[a], place, habits, quality, draw) for place, a in enumerate(item.shown_order)}
    if item.why in ("quiz", "gold"):  # Fay misses what everybody else knows
        sign = -1 if item.why == "gold" and habits.name == "Fay" else 1
        worth = {a: sign * quality[text[a]] for a in item.shown_order}
    order = sorted(worth, key=lambda a: worth[a], reverse=True)
    gap = worth[order[0]] - worth[order[1]]
    if draw.random() < 0.05:
        common |= {"note": "R1 and R3 pull apart here.", "reasons": ("flagged",)}
    if item.kind == "rank":
        return Verdict(tiers=tuple((a,) for a in order), **common)
    if gap < 0.35:
        return Verdict(tiers=(tuple(item.shown_order),), strength=0, **common)
    return Verdict(tiers=((order[0],), (order[1],)), strength=1 if gap < 1 else 2 if gap < 2.2 else 3, **common)


def _worth(text: str, place: int, habits: Habits, quality: dict[str, float], draw: Random) -> float:
    """Utility of an answer to a rater: Gumbel noise makes his choices logistic in the sum before it."""
    noise = -math.log(-math.log(draw.random()))
    pull = habits.side if place == 0 else 0.0
    return habits.skill * quality[text] + pull + habits.length * math.log(len(text) / 60) + noise


def _contest(store: Store, people: dict[str, Person]) -> None:
    """An objection to a known verdict, by the first who missed one."""
    for habits in RATERS:
        for check in contests.checks(store, people[habits.name]):
            if not check.right:
                text = "R3: the other one says the same in fewer words."
                return contests.contest(store, people[habits.name], check.judgment.id, text)


def _reward_model(store: Store, quality: dict[str, float], draw: Random) -> None:
    """A reward model's verdicts on what people judged, so that the pages have one to hold against them."""
    rater = Rater(id="reward-model", kind="model")
    made = []
    groups = store.groups()
    for group in groups:
        score = {a.id: 1.1 * quality[a.text] + 0.004 * len(a.text) + draw.gauss(0, 0.6) for a in group.answers}
        order = sorted(score, key=lambda a: score[a], reverse=True)
        tiers = tuple((a,) for a in order)
        made.append(Judgment(id=f"demo-{group.id}", group=group.id, rater=rater.id, tiers=tiers, scores=score))
    store.add_judgments(groups, made, [rater])
