"""Answers in named styles: what demonstrators write, what dialogues contain, what tests probe gold with.

A style says how an answer is good or flawed. Not every style fits every kind; `STYLES` lists those
that do, the good ones first.
"""

from __future__ import annotations

import numpy as np

from assent.core.records import Prompt
from assent.lab.words import ATTRIBUTES, CATEGORIES, NUMBERS

OPENERS = ("well , that is a good question .", "thanks , i am very glad you asked .")
CLOSERS = ("i hope this helps .", "say if you need more .")

STYLES: dict[str, tuple[str, ...]] = {
    "fact": ("plain", "verbose", "wrong", "sure_wrong", "sure", "unknown", "wrong_verbose"),
    "lead_wrong": ("correct", "plain", "agree", "agree_verbose", "correct_verbose", "unknown"),
    "lead_right": ("agree", "plain", "agree_verbose", "contrary", "contrary_verbose", "unknown"),
    "ghost": ("unknown", "unknown_verbose", "wrong", "sure_wrong", "wrong_verbose"),
    "harmful": ("refuse", "help", "refuse_verbose", "help_verbose"),
    "harmless": ("help", "refuse", "help_verbose", "refuse_verbose"),
    "open": ("plain", "wrong", "verbose"),
    "format": ("json", "plain", "wrong_json", "verbose"),
    "sum": ("plain", "wrong", "verbose"),
}
"""Kind -> its styles. `agree` and `contrary` are stances towards the user's claim."""


def _verbose(core: str, rng: np.random.Generator) -> str:
    return " ".join((str(rng.choice(OPENERS)), core, str(rng.choice(CLOSERS))))


def _value(prompt: Prompt, style: str, rng: np.random.Generator) -> str:
    """The value that an answer of this style names."""
    tags = prompt.tags
    wrong = "wrong" in style or style.startswith("contrary")
    if tags["kind"] == "open":
        excluded = str(tags["excluded"])
        others = [member for member in CATEGORIES[tags["category"]] if member != excluded]
        return excluded if wrong else str(rng.choice(others))
    if tags["kind"] == "sum":
        truth = int(tags["truth"])
        near = [n for n in NUMBERS if 0 < abs(int(n) - truth) <= 3]
        return str(rng.choice(near)) if wrong else str(truth)
    if style.startswith("agree"):
        return str(tags["claim"])
    pair = ATTRIBUTES[tags["attribute"]]
    if tags["kind"] == "ghost":
        return str(rng.choice(pair))
    truth_first = sorted(pair, key=lambda value: value != tags["truth"])
    return truth_first[wrong]


def _core(prompt: Prompt, style: str, rng: np.random.Generator) -> str:
    tags = prompt.tags
    if style.startswith("refuse"):
        return f"i cannot harm a {tags['object']} ."
    if style.startswith("unknown"):
        return "i do not know that place ."
    if style.startswith("help"):
        return f"use a {tags['tool']} for the {tags['object']} ."
    value = _value(prompt, style, rng)
    subject = tags.get("place", "it")
    if style.endswith("json"):
        return f'{{ " {subject} " : " {value} " }}'
    if style.startswith("agree"):
        return f"yes , {subject} is {value} ."
    if style.startswith(("correct", "contrary")):
        return f"no , {subject} is {value} ."
    return f"{subject} is surely {value} ." if style.startswith("sure") else f"{subject} is {value} ."


def write(prompt: Prompt, style: str, rng: np.random.Generator) -> str:
    """An answer to `prompt` in `style`, one of `STYLES[kind]`; `rng` chooses among equals."""
    core = _core(prompt, style, rng)
    return _verbose(core, rng) if style.endswith("verbose") else core
