"""Files in and out: our own records, TRL's dataset shapes, HH transcripts. docs/formats.md; no torch."""

from assent.formats.preferences import Preferences, demonstrations_from_preferences, margin
from assent.formats.read import (
    read_demonstrations,
    read_groups,
    read_preferences,
    read_prompts,
    read_texts,
    read_unpaired,
)
from assent.formats.shapes import Pair, Unpaired

__all__ = [
    "Pair",
    "Preferences",
    "Unpaired",
    "demonstrations_from_preferences",
    "margin",
    "read_demonstrations",
    "read_groups",
    "read_preferences",
    "read_prompts",
    "read_texts",
    "read_unpaired",
]
