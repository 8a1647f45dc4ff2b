"""What raters have still to do before data can be taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select

from assent.core.records import Group
from assent.feedback.records import Kind
from assent.feedback.schema import AssignmentRow, ItemRow, SettingRow
from assent.feedback.store import Store


@dataclass(frozen=True)
class Missing:
    """Judgments wanted of some kinds of items, and how many there are."""

    places: int
    judged: int

    @property
    def left(self) -> int:
        """Judgments that are still to be made."""
        return self.places - self.judged


def missing(store: Store, kinds: Sequence[Kind]) -> Missing:
    """How far the work of these kinds is. What is in somebody's hands is not judged yet."""
    work = (ItemRow.part == "work", ItemRow.kind.in_(kinds))
    held = (
        select(func.count())
        .select_from(AssignmentRow)
        .join(ItemRow, ItemRow.n == AssignmentRow.item)
        .where(AssignmentRow.state == "leased", AssignmentRow.holds, *work)
    )
    total = select(func.coalesce(func.sum(ItemRow.overlap), 0), func.coalesce(func.sum(ItemRow.taken), 0)).where(*work)
    (places, taken), leased = store.read(lambda db: (db.execute(total).one(), db.execute(held).scalar_one()))
    return Missing(int(places), int(taken) - int(leased))


def ask(store: Store, mark: str, groups: Sequence[Group], overlap: int) -> dict[str, int]:
    """Put a policy's answers in the queue: pairs to compare, more to rank. `mark` says afterwards that it was done."""
    added = {"added": 0, "known": 0}
    for kind, chosen in (
        ("compare", [group for group in groups if len(group.answers) == 2]),
        ("rank", [group for group in groups if len(group.answers) > 2]),
    ):
        if chosen:
            found = store.add_groups(chosen, kind, overlap)  # type: ignore[arg-type]  # a literal of its own loop
            added = {key: added[key] + found[key] for key in added}
    store.write(lambda db, _: db.execute(delete(SettingRow).where(SettingRow.name == _name(mark))))
    store.write(lambda db, _: db.execute(insert(SettingRow).values(name=_name(mark), value=str(len(groups)))))
    return added


def was_asked(store: Store, mark: str) -> bool:
    """Whether `ask` was done under this mark."""
    known = select(SettingRow.name).where(SettingRow.name == _name(mark))
    return store.read(lambda db: db.execute(known).first()) is not None


def _name(mark: str) -> str:
    return f"asked:{mark}"
