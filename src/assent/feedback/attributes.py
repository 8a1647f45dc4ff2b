"""What raters choose to say of themselves, so that a lead can see whose tastes weigh how much.

Telling is free, may stop at one point and may be taken back. Every point has a few values to choose from and no free
text, so that nobody describes himself so exactly that he is known by it. What was told is shown of groups of five and
more only (`stats.slices`), goes into no export, and no line of the audit log says who changed his mind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select, update

from assent.feedback.errors import FeedbackError
from assent.feedback.people import find
from assent.feedback.records import Person, rater_id
from assent.feedback.schema import PersonRow
from assent.feedback.store import Store

CHOICES: dict[str, tuple[str, ...]] = {
    "age": ("under 30", "30 to 44", "45 to 59", "60 and over"),
    "gender": ("woman", "man", "another"),
    "region": ("Africa", "Asia", "Europe", "Latin America", "Middle East", "North America", "Oceania"),
    "first language": ("the language of the answers", "another one"),
    "work": ("care or health", "craft or service", "office or law", "science or technology", "teaching or writing"),
}
"""What can be told, and the values of each."""


def attributes(store: Store) -> dict[str, dict[str, str]]:
    """Rater id -> what he told of himself; raters who told nothing are left out."""
    return store.read(all_told)


def all_told(db: Connection) -> dict[str, dict[str, str]]:
    """The same, within a transaction."""
    rows = select(PersonRow.id, PersonRow.attributes).where(PersonRow.attributes.is_not(None)).order_by(PersonRow.id)
    told = {rater_id(row.id): _known(row.attributes) for row in db.execute(rows)}
    return {rater: values for rater, values in told.items() if values}


def attributes_of(store: Store, person: Person) -> dict[str, str]:
    """What one person told, to be shown to himself. Empty: nothing."""
    return attributes(store).get(person.rater.id, {})


def set_attributes(store: Store, person: Person, given: Mapping[str, str] | None) -> None:
    """Keep what a person tells of himself, in place of all he told before. None or empty: he tells nothing.

    Parameters: `given`, key -> value, both out of `CHOICES`; a key left out is not told. Raises FeedbackError for
    anything else, NotFound for an account that is not there.
    """
    told = check(given or {})
    value = json.dumps(told, sort_keys=True) if told else None

    def work(db: Connection, now: float) -> None:
        find(db, person.id)
        db.execute(update(PersonRow).where(PersonRow.id == person.id).values(attributes=value))

    store.write(work)


def check(given: Mapping[str, str]) -> dict[str, str]:
    """What was given, where all of it can be told. Raises FeedbackError."""
    for key, value in given.items():
        if key not in CHOICES:
            raise FeedbackError("there is no such thing to tell", fix=f"tell of {', '.join(CHOICES)}")
        if value not in CHOICES[key]:
            raise FeedbackError(f"that is no {key} to choose", fix=f"choose one of {', '.join(CHOICES[key])}")
    return dict(given)


def _known(value: str | None) -> dict[str, str]:
    """What is stored, without what is no longer offered."""
    told = json.loads(value or "{}")
    return {key: told[key] for key in CHOICES if told.get(key) in CHOICES[key]}
