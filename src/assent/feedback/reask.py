"""When the guideline changes: which judged items the change touches, and asking about them again under the new one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from assent.core.records import Group, Judgment
from assent.feedback import guidelines
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.mix import opposed, stands
from assent.feedback.people import audit
from assent.feedback.records import Kind
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow
from assent.feedback.store import Store

CONFLICT = "conflict"
"""Why an item is touched, where it is not a rule's id: its votes oppose each other."""


@dataclass(frozen=True)
class Touched:
    """A judged item that the change touches. `why`: ids of changed rules that it names, and `conflict`."""

    n: int
    kind: Kind
    prompt: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What a change of the guideline touches. `rules`: ids of those changed, added or taken out."""

    rules: tuple[str, ...]
    items: tuple[Touched, ...]
    """To be asked about once more: every place is judged, and nobody judged under the new version."""
    waiting: int
    """Touched items that have a free place anyway, or were judged under the new version."""


def touched(store: Store, old: str, new: str) -> Change:
    """What the change from one version to the one in force touches; nothing is changed. Raises NotFound, BadVerdict.

    An item is touched where its prompt, answers, notes or reasons name a changed rule, or where its votes under older
    versions oppose each other.
    """
    return store.read(lambda db: _touched(db, old, new))


def ask_again(store: Store, old: str, new: str, by: str | None) -> int:
    """Want one judgment more of each item that `touched` names; how many. A second time changes nothing."""
    items = touched(store, old, new).items

    def work(db: Connection, now: float) -> int:
        raised = 0
        for item in items:
            full = update(ItemRow).where(ItemRow.n == item.n, ItemRow.taken == ItemRow.overlap)
            raised += db.execute(full.values(overlap=ItemRow.overlap + 1)).rowcount
        audit(db, now, by, "asked again", f"{raised} items, guideline {old} to {new}")
        return raised

    return store.write(work)


def _touched(db: Connection, old: str, new: str) -> Change:
    texts = {guideline.version: guideline.text for guideline in guidelines.history(db)}
    if old not in texts or new not in texts:
        raise NotFound("no such guideline")
    if new != guidelines.current_version(db) or old == new:
        raise BadVerdict("items are asked again under the guideline in force, after a change from another version")
    rules = tuple(guidelines.changed_rules(texts[old], texts[new]))
    found, waiting, judged = [], 0, _judged(db)
    for row in db.execute(_ITEMS):
        acts, group = judged.get(row.n, []), Group.model_validate_json(row.record)
        why = _why(group, [act for act in acts if act.guideline in texts and act.guideline != new], rules)
        if why and (row.taken < row.overlap or any(act.guideline == new for act in acts)):
            waiting += 1
        elif why:
            found.append(Touched(row.n, row.kind, group.prompt.text, why))
    return Change(rules, tuple(found), waiting)


_ITEMS = (
    select(ItemRow.n, ItemRow.kind, ItemRow.overlap, ItemRow.taken, GroupRow.record)
    .join(GroupRow, GroupRow.id == ItemRow.group)
    .where(ItemRow.part == "work", ItemRow.taken > 0)
    .order_by(ItemRow.n)
)


def _judged(db: Connection) -> dict[int, list[Judgment]]:
    """Item -> people's acts on it that stand, in order."""
    rows = db.execute(
        select(AssignmentRow.item, JudgmentRow.record)
        .join(JudgmentRow, JudgmentRow.assignment == AssignmentRow.id)
        .where(stands())
        .order_by(JudgmentRow.n)
    )
    found: dict[int, list[Judgment]] = defaultdict(list)
    for row in rows:
        found[row.item].append(Judgment.model_validate_json(row.record))
    return found


def _why(group: Group, acts: list[Judgment], rules: Iterable[str]) -> tuple[str, ...]:
    """Changed rules that the item or an act on it names, and `conflict`; empty without an act."""
    if not acts:
        return ()
    said = [text for act in acts for text in (act.note, act.ideal or "", *act.reasons)]
    texts = "\n".join([*(m.content for m in group.prompt.messages), *(a.text for a in group.answers), *said])
    named = [rule for rule in rules if re.search(rf"(?<!\w){re.escape(rule)}(?!\w)", texts)]
    votes = {act.rater: act.tiers[0] for act in acts if act.outcome == "ranked"}
    return (*named, *([CONFLICT] if opposed(votes.values()) else ()))
