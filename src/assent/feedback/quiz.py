"""How far a person is with the quiz, which is asked before any work.

What he opted out of is not asked, and a sensitive item that he skips counts neither way: both are always free. Any
other item that is skipped counts as wrong, or a quiz could be passed by skipping it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, select

from assent.feedback.records import Person, Queue
from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow, SettingRow


class Quiz(NamedTuple):
    """Where a person stands in the quiz, in his present try (1 the first). `left`: items not answered yet, in order.

    `total` of the `whole` quiz's items count for him.
    """

    attempt: int
    left: tuple[int, ...]
    right: int
    total: int
    whole: int

    @property
    def few(self) -> bool:
        """Whether so little of the quiz counts for this person that passing it says little."""
        return 2 * self.total < self.whole

    @property
    def turn(self) -> int:
        """Turn of this try's assignments; people may have judged the same items as work before."""
        return -1 - self.attempt

    def passed(self, rules: Queue) -> bool:
        """Whether every item is answered, and enough of them right; true where none is asked of him."""
        return not self.left and self.right >= rules.quiz_pass * self.total


def is_right(tiers: Sequence[Sequence[str]], gold: str) -> bool:
    """Whether a verdict is the gold one; the order inside a tie does not matter."""
    return bool([sorted(tier) for tier in tiers] == json.loads(gold))


def standing(db: Connection, person: Person) -> Quiz | None:
    """How far a person is with the quiz; None where there is none."""
    columns = (ItemRow.n, ItemRow.gold, ItemRow.category)
    items = db.execute(select(*columns).where(ItemRow.part == "quiz").order_by(ItemRow.n)).all()
    if not items:
        return None
    tries = db.execute(select(SettingRow.value).where(SettingRow.name == tries_name(person.id))).scalar()
    stand = Quiz(attempt=int(tries or 1), left=(), right=0, total=0, whole=len(items))
    wanted = (AssignmentRow.item.in_([row.n for row in items]), AssignmentRow.turn == stand.turn)
    answered = {item: json.loads(record) for item, record in db.execute(_standing(person.id, *wanted))}
    left = tuple(row.n for row in items if row.n not in answered and row.category not in person.opted_out)
    said = [(answered[row.n], row) for row in items if row.n in answered]
    counted = [(act.get("tiers"), row.gold) for act, row in said if act.get("outcome") != "skip" or not row.category]
    right = sum(bool(tiers) and is_right(tiers, gold) for tiers, gold in counted)
    return stand._replace(left=left, right=right, total=len(left) + len(counted))


def tries_name(person: str) -> str:
    """Name of the setting that holds how many tries at the quiz a person has; 1 where it is not set."""
    return f"quiz tries {person}"


def _standing(person: str, *where: ColumnElement[bool]) -> Any:
    """(item, record) of a person's acts that neither were superseded nor take something back."""
    replaced = select(JudgmentRow.supersedes).where(JudgmentRow.person == person, JudgmentRow.supersedes.is_not(None))
    return (
        select(AssignmentRow.item, JudgmentRow.record)
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(AssignmentRow.person == person, ~JudgmentRow.undone, JudgmentRow.id.not_in(replaced), *where)
    )
