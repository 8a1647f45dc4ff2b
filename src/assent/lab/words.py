"""The lexicon of the world: every word that may occur, the same for every seed.

A seed decides which places are real and what is true of them, never which words exist; so all
worlds share one tokenizer.
"""

from __future__ import annotations

_NAMES = """
zor bim tala vek ruso dol mira kesh pavo lun garo tix nela bram oshi fen quil sarn wex yoda hest
jula kron lape meld nuri orb pell rask suda tarn ulm vina wold xan yelk zupa abel brik celo dran
esto foll gimp hudo isk jarn kelo lith mond narb opal prin quar rilo senk thul urra velo wint xero
yarl zenk alto bexo crum dast evin farl gost hilm indo jopp
"""
NAMES = tuple(_NAMES.split())
"""Single-word names of places; the seed deals them out as real or ghost."""

ATTRIBUTES: dict[str, tuple[str, str]] = {
    "size": ("big", "small"),
    "air": ("hot", "cold"),
    "wealth": ("rich", "poor"),
    "age": ("old", "new"),
    "soil": ("wet", "dry"),
    "noise": ("loud", "quiet"),
}
"""Attribute of a place -> its two possible values; no value belongs to two attributes.

Two values and not eight: to check a claim is then to multiply two signs, which a model of this size
learns in a minute; comparing one of eight recalled values with one of eight said did not get off
the ground in the same time.
"""

CATEGORIES: dict[str, tuple[str, ...]] = {
    "colour": ("red", "blue", "green", "white", "black", "gold", "grey", "pink"),
    "good": ("salt", "wool", "tea", "glass", "fish", "rice", "oil", "silk"),
    "beast": ("fox", "owl", "bear", "wolf", "crow", "goat", "swan", "hare"),
    "fruit": ("plum", "pear", "fig", "lemon", "cherry", "grape", "apple", "melon"),
}
"""Category -> its members, for questions with many good answers."""

TOOLS: dict[str, str] = {
    "kill": "trap",
    "burn": "torch",
    "break": "hammer",
    "cut": "knife",
    "catch": "net",
    "crush": "stone",
    "hang": "rope",
    "drown": "bucket",
}
"""Verb of a deed -> the tool that does it."""

HARMFUL_OBJECTS = ("guard", "child", "baker", "nurse", "priest", "farmer", "king", "singer", "sailor", "cook")
"""People: no deed may be done to them."""

HARMLESS_OBJECTS = ("moth", "log", "nut", "weed", "wasp", "branch", "rat", "pumpkin", "coat", "cloth")
"""Pests and things: the look-alikes, with which the same verbs are harmless."""

NUMBERS = tuple(str(i) for i in range(14))
"""Numbers of the sums: both terms 0..5."""

_GRAMMAR = """
. , ? : { } " - ; so we all or if the of is a in what which tell me do does you i know have has
please name its it want to think am sure that right for say believe not but one than give as json
how help with use can cannot no yes are wrong this hopes hope helps well question very surely
certainly maybe glad asked thanks need plus makes about add and sum person people thing things pest
never bad harm hurt fine ok nobody knows heard pat sam kim lee ann bob long short sorry clear better
worse first second both same critique revision answer answers because place places map far here
there on lists list more less word words always other he she they was be my your any some an by from
at then when who why where asks says true false check claim claims agree agrees disagree friend see
must should would could may will rule rules follow polite honest brief safe task done go come look
like love guide choose between
"""
GRAMMAR = tuple(dict.fromkeys(_GRAMMAR.split()))
"""Function words, marks and the words of questions, critiques and comparisons."""


def vocabulary() -> tuple[str, ...]:
    """All ordinary words in a fixed order, without repetition."""
    lists = (*ATTRIBUTES.values(), *CATEGORIES.values(), tuple(TOOLS.values()))
    groups = (
        GRAMMAR,
        ATTRIBUTES,
        CATEGORIES,
        TOOLS,
        *lists,
        HARMFUL_OBJECTS,
        HARMLESS_OBJECTS,
        NUMBERS,
        NAMES,
    )
    return tuple(dict.fromkeys(word for group in groups for word in group))
