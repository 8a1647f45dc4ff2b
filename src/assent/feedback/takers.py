"""Who took the quiz, and who may try it again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, update

from assent.feedback import people, queue, quiz
from assent.feedback.errors import FeedbackError
from assent.feedback.records import Person, Role
from assent.feedback.schema import SettingRow
from assent.feedback.store import Store

NOT_FAILED = "this person has not failed the quiz, or may try again already"


@dataclass(frozen=True)
class Taker:
    """Where a person stands in the quiz. `state`: `under way`, `passed` or `failed`.

    `total` of its `whole` items count for him; `few` where that is less than half: he skips or opted out of the rest.
    """

    person: Person
    attempt: int
    answered: int
    right: int
    total: int
    whole: int
    few: bool
    state: str


def takers(store: Store) -> list[Taker]:
    """Active people who began the quiz, or of whom little of it can be asked, those who failed first."""

    def work(db: Connection) -> list[Taker]:
        rules, found = queue.settings(db), []
        for person in people.everybody(db):
            stand = quiz.standing(db, person) if person.active else None
            if stand is None or (stand.attempt == 1 and len(stand.left) == stand.total and not stand.few):
                continue
            state = "under way" if stand.left else "passed" if stand.passed(rules) else "failed"
            answered = stand.total - len(stand.left)
            counts = (answered, stand.right, stand.total, stand.whole)
            found.append(Taker(person, stand.attempt, *counts, stand.few, state))
        return sorted(found, key=lambda taker: taker.state != "failed")

    return store.read(work)


def allow_try(store: Store, person: str, by: Person) -> int:
    """Let somebody who failed take the quiz once more, from its start; the number of that try.

    What he answered before stays. Raises NotFound, NotAllowed, FeedbackError where he has not failed.
    """

    def work(db: Connection, now: float) -> int:
        people.require(db, by.id, Role.lead)
        taker = people.find(db, person)
        stand = quiz.standing(db, taker)
        if stand is None or stand.left or stand.passed(queue.settings(db)):
            raise FeedbackError(NOT_FAILED)
        _count_try(db, quiz.tries_name(taker.id), stand.attempt)
        people.audit(db, now, by.id, "another try at the quiz", f"{taker.id} try {stand.attempt + 1}")
        return stand.attempt + 1

    return store.write(work)


def _count_try(db: Connection, name: str, attempt: int) -> None:
    """One try more than `attempt`, once: of two leads at the same moment the second is refused."""
    if attempt == 1:
        db.execute(insert(SettingRow).values(name=name, value="2"))
        return
    same = update(SettingRow).where(SettingRow.name == name, SettingRow.value == str(attempt))
    if db.execute(same.values(value=str(attempt + 1))).rowcount != 1:
        raise FeedbackError(NOT_FAILED)
