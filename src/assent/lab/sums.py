"""Small sums, a task that can be checked: `data: lab:sums`, with the true total as the prompt's tag `answer`.

    what is 3 plus 4 ?              it is 7 .
    tell me 2 plus 5 plus 1 .       it is 8 .

Two or three terms whose total is in the lab's lexicon (`words.NUMBERS`), so its tokenizer serves. The order of
the terms makes no new subject: 3 plus 4 and 4 plus 3 always stand on the same side of the held-out split.
Demonstrations are wrong in `MISTAKES` of the cases, so that there is something to improve on; the pretraining
text is right throughout. Sums do not depend on the world.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from assent.core.records import Answer, Demonstration, Prompt
from assent.core.seeds import generator
from assent.lab.words import NUMBERS

ASKS = ("what is {sum} ?", "tell me {sum} .", "please add {sum} .")
MISTAKES = 0.3
"""Share of wrong demonstrations."""
NEAR = 3
"""A wrong total is at most so far from the true one."""
LARGEST = len(NUMBERS) - 1

Terms = tuple[int, ...]


def sums() -> list[Terms]:
    """Every sum, in a fixed order."""
    terms = range(LARGEST + 1)
    return [s for n in (2, 3) for s in product(terms, repeat=n) if sum(s) <= LARGEST]


def _said(terms: Terms) -> str:
    return " plus ".join(map(str, terms))


def prompts() -> list[Prompt]:
    """Every question about every sum, mixed, in a fixed order.

    Tags: `sum`, as it is said; `answer`, its total; `subject`, the sum with its terms sorted.
    """
    asked = [
        Prompt.ask(ask.format(sum=_said(s)), sum=_said(s), answer=str(sum(s)), subject=_said(tuple(sorted(s))))
        for s in sums()
        for ask in ASKS
    ]
    return [asked[i] for i in generator(0, "lab", "sums").permutation(len(asked))]


def demonstrations(asked: list[Prompt], n: int, seed: int) -> list[Demonstration]:
    """`n` answers to prompts drawn from `asked`, `MISTAKES` of them wrong by at most `NEAR`."""
    rng = generator(seed, "lab", "sums", "demonstrations")
    drawn = [asked[i] for i in rng.integers(len(asked), size=n)]
    return [Demonstration(prompt=p, answer=_answer(p, rng), author="lab") for p in drawn]


def _answer(prompt: Prompt, rng: np.random.Generator) -> Answer:
    total = int(prompt.tags["answer"])
    wrong = bool(rng.random() < MISTAKES)
    if wrong:
        total = int(rng.choice([n for n in range(LARGEST + 1) if 0 < abs(n - total) <= NEAR]))
    return Answer.of(prompt, f"it is {total} .", source=f"lab: {'wrong' if wrong else 'plain'}")


def documents(n: int, seed: int) -> list[str]:
    """`n` pretraining documents of four sums: totals, and people who ask and answer. Held-out sums are among them.

    Without those a model of this size would not know them: it learns sums by heart.
    """
    rng, asked = generator(seed, "lab", "sums", "documents"), prompts()

    def sentence() -> str:
        prompt = asked[int(rng.integers(len(asked)))]
        total = prompt.tags["answer"]
        if rng.random() < 0.5:
            return f"{prompt.tags['sum']} is {total} ."
        return f"pat : {prompt.text} sam : it is {total} ."

    return [" ".join(sentence() for _ in range(4)) for _ in range(n)]
