"""Judging and taking back. Acts are only ever added: a correction names what it supersedes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, select, update
from sqlalchemy.orm import aliased

from assent.core.hashing import content_id
from assent.core.records import Group, Judgment, check_tiers
from assent.feedback import withdrawn
from assent.feedback.choice import PLACED, give_place, has_opened, take_place
from assent.feedback.errors import AlreadyAnswered, BadVerdict, FeedbackError, LeaseExpired, NotAllowed, NotFound
from assent.feedback.queue import LEASE_SECONDS
from assent.feedback.records import UNDONE, Assignment, Kind, Person, Verdict
from assent.feedback.schema import AssignmentRow, ItemRow, JudgmentRow

MOST_CHARACTERS = 100_000
SETTLED = "adjudicated"
"""Reason on the act by which a reviewer settles an item, having seen what others said."""
_ACT = aliased(JudgmentRow)
_ACTS = select(_ACT.record).where(_ACT.assignment == AssignmentRow.id).order_by(_ACT.n.desc())
_LATEST = _ACTS.limit(1).scalar_subquery()
_SAME_KEY = and_(JudgmentRow.person == bindparam("person"), JudgmentRow.client_key == bindparam("key"))
_SO_FAR = (
    select(
        *(AssignmentRow.item, AssignmentRow.turn, AssignmentRow.guideline, AssignmentRow.why),
        JudgmentRow.record.label("kept"),
        JudgmentRow.assignment.label("kept_for"),
        _LATEST.label("latest"),
    )
    .outerjoin(JudgmentRow, _SAME_KEY)
    .where(AssignmentRow.id == bindparam("id"))
)
"""An assignment, what was kept under a client key, and the latest act on the assignment: one question."""


def check(verdict: Verdict, kind: Kind, group: Group) -> Verdict:
    """The verdict in canonical orientation: answers inside a tie in the group's order. Raises BadVerdict."""
    _check_text(verdict)
    if verdict.outcome != "ranked":
        if verdict.tiers:
            raise BadVerdict(f"`{verdict.outcome}` has no tiers")
        if kind == "write" and verdict.outcome == "both_bad":
            raise BadVerdict("there are no answers to call bad")
        return verdict
    order = [answer.id for answer in group.answers]
    if kind == "write":
        if not (verdict.ideal or "").strip():
            raise BadVerdict("the answer is empty")
        return verdict.model_copy(update={"tiers": (tuple(order),)})
    if any(not tier for tier in verdict.tiers):
        raise BadVerdict("a tier is empty")
    problem = check_tiers(Judgment(id="-", group=group.id, rater="-", tiers=verdict.tiers), group)
    if problem:
        raise BadVerdict(problem)
    if verdict.strength is not None and (verdict.strength == 0) != (len(verdict.tiers) == 1):
        raise BadVerdict("strength 0 is a tie of all answers, and a tie of all has strength 0")
    return verdict.model_copy(update={"tiers": tuple(tuple(sorted(tier, key=order.index)) for tier in verdict.tiers)})


def _check_text(verdict: Verdict) -> None:
    text = "".join((verdict.note, verdict.ideal or "", *verdict.reasons))
    if len(text) > MOST_CHARACTERS:
        raise BadVerdict(f"more than {MOST_CHARACTERS} characters of text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadVerdict("the text is not valid Unicode") from None


def submit(db: Connection, now: float, person: Person, given: Assignment, key: str, verdict: Verdict) -> Judgment:
    """Keep a verdict once. Raises BadVerdict, AlreadyAnswered, LeaseExpired."""
    row = db.execute(_SO_FAR, {"id": given.id, "person": person.id, "key": key}).one()
    if row.kept is not None:
        return _same_act(row, given.id)
    verdict = check(verdict, given.kind, given.group)
    if not _finish(db, given.id, row.item, person):
        # Another transaction was first: the same submit, or another tab.
        if (kept := _by_key(db, person, key, given.id)) is not None:
            return kept
        raise AlreadyAnswered(_latest(db, given.id))
    # Were it no longer the latest, the tables refuse the second act on it, and the whole is run again.
    undone = None if row.latest is None else Judgment.model_validate_json(row.latest)
    judgment = Judgment(
        id=content_id("judgment", given.id, key),
        group=given.group.id,
        rater=person.rater.id,
        shown_order=given.shown_order,
        guideline=row.guideline,
        is_gold=row.why in ("gold", "quiz"),
        is_repeat=row.turn > 0,
        supersedes=undone.id if undone else None,
        times={**verdict.times, **_measured(verdict), "received": now},
        reasons=(*verdict.reasons, *([SETTLED] if row.why == "adjudication" else [])),
        **verdict.model_dump(include={"outcome", "tiers", "strength", "note", "ideal"}),
    )
    add(db, now, judgment, person.id, given.id, key)
    if verdict.outcome == "skip":
        _leave_place(db, now, given.id, row.item)
    return judgment


def _measured(verdict: Verdict) -> dict[str, float]:
    return {} if verdict.visible_ms is None else {"visible_ms": verdict.visible_ms}


def add(
    db: Connection, now: float, judgment: Judgment, person: str | None, assignment: str | None, key: str | None
) -> None:
    """One more row."""
    db.execute(
        insert(JudgmentRow).values(
            id=judgment.id,
            group=judgment.group,
            rater=judgment.rater,
            person=person,
            assignment=assignment,
            client_key=key,
            outcome=judgment.outcome,
            undone=UNDONE in judgment.reasons and judgment.outcome == "skip" and judgment.supersedes is not None,
            guideline=judgment.guideline,
            supersedes=judgment.supersedes,
            is_gold=judgment.is_gold,
            is_repeat=judgment.is_repeat,
            at=now,
            record=judgment.model_dump_json(exclude_defaults=True),
        )
    )


def undo(db: Connection, now: float, person: Person, key: str, of: str | None) -> Judgment:
    """Take the last act that stands back; its item is leased again, but for a case, which waits on its own page.

    Raises NotFound where there is none, NotAllowed where it was a check item or was opened as a case: what is right, or
    what others said, is known since. AlreadyAnswered where `of`, the key of the act that is meant, is another one's.
    """
    done = select(JudgmentRow.record).where(JudgmentRow.person == person.id, JudgmentRow.client_key == key)
    if (kept := db.execute(done).scalar()) is not None:
        return Judgment.model_validate_json(kept)
    replaced = select(JudgmentRow.supersedes).where(
        JudgmentRow.person == person.id, JudgmentRow.supersedes.is_not(None)
    )
    mine = (JudgmentRow.person == person.id, ~JudgmentRow.undone, JudgmentRow.id.not_in(replaced))
    row = db.execute(
        select(JudgmentRow.record, JudgmentRow.assignment, JudgmentRow.client_key)
        .where(*mine)
        .order_by(JudgmentRow.n.desc())
        .limit(1)
    ).first()
    if row is None:
        raise NotFound("there is nothing to take back")
    last = Judgment.model_validate_json(row.record)
    if of is not None and row.client_key != of:
        raise AlreadyAnswered(last)
    if last.is_gold and last.outcome != "skip":
        raise NotAllowed("a check item stands as you answered it, since its known answer was shown")
    _reopen(db, now, row.assignment, was_skip=last.outcome == "skip")
    judgment = Judgment(
        id=content_id("judgment", row.assignment, key),
        group=last.group,
        rater=last.rater,
        outcome="skip",
        reasons=(UNDONE,),
        shown_order=last.shown_order,
        guideline=last.guideline,
        is_gold=last.is_gold,
        is_repeat=last.is_repeat,
        supersedes=last.id,
        times={"received": now},
    )
    add(db, now, judgment, person.id, row.assignment, key)
    return judgment


def _reopen(db: Connection, now: float, assignment: str, was_skip: bool) -> None:
    columns = (AssignmentRow.item, AssignmentRow.why, AssignmentRow.person)
    row = db.execute(select(*columns).where(AssignmentRow.id == assignment)).one()
    holds = row.why in PLACED
    if row.why != "adjudication" and has_opened(db, row.person, row.item):
        raise NotAllowed("your judgment stands, since you opened the item as a case and know what others said")
    if holds and was_skip:
        withdrawn.restore(db, ItemRow.n == row.item)
        if not take_place(db, row.item):
            raise FeedbackError("the skipped item was given to somebody else since")
    # A case is settled knowing what others said: it must not come up among the items to judge blind.
    state = "expired" if row.why == "adjudication" else "leased"
    values = {"state": state, "holds": holds, "expires": now + LEASE_SECONDS}
    db.execute(update(AssignmentRow).where(AssignmentRow.id == assignment).values(**values))


def _by_key(db: Connection, person: Person, key: str, assignment: str) -> Judgment | None:
    """What was kept under a client key. Raises BadVerdict where it was another assignment's."""
    row = db.execute(_SO_FAR, {"id": assignment, "person": person.id, "key": key}).one()
    return None if row.kept is None else _same_act(row, assignment)


def _same_act(row: Row[Any], assignment: str) -> Judgment:
    if row.kept_for != assignment:
        raise BadVerdict("this client key was used for another item", fix="draw a new key for each act")
    return Judgment.model_validate_json(row.kept)


def _latest(db: Connection, assignment: str) -> Judgment:
    record = db.execute(select(_LATEST).where(AssignmentRow.id == assignment)).scalar()
    assert record is not None, "an assignment is done only with its judgment"
    return Judgment.model_validate_json(record)


def _finish(db: Connection, assignment: str, item: int, person: Person) -> bool:
    """Mark as done; False where it was done already. A late answer is kept while there is a place for it."""
    done = update(AssignmentRow).where(AssignmentRow.id == assignment)
    if db.execute(done.where(AssignmentRow.state == "leased").values(state="done")).rowcount == 1:
        return True
    row = db.execute(select(AssignmentRow.state, AssignmentRow.why).where(AssignmentRow.id == assignment)).one()
    if row.state == "done":
        return False
    holds = row.why in PLACED
    if row.why != "adjudication" and has_opened(db, person.id, item):
        raise LeaseExpired("you opened this item as a case, and know what others said; somebody else judges it")
    if holds and not take_place(db, item):
        raise LeaseExpired("the time for this item ran out, and somebody else judges it now")
    if db.execute(done.where(AssignmentRow.state == "expired").values(state="done", holds=holds)).rowcount == 1:
        return True
    if holds:
        give_place(db, item)
    return False


def _leave_place(db: Connection, now: float, assignment: str, item: int) -> None:
    """A skip gives the place back: somebody else will judge, unless too many have skipped it."""
    held = update(AssignmentRow).where(AssignmentRow.id == assignment, AssignmentRow.holds).values(holds=False)
    if db.execute(held).rowcount == 1:
        give_place(db, item)
        withdrawn.if_skipped_by_all(db, now, item)
