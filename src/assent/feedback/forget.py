"""Taking a person out of the project.

Gone: the name, the password, what he told of himself, his limits, sessions, tokens, links, chats and which guidelines
he read. The account stays as a closed shell, so that the audit log, which is only ever added to, still names an id.
His votes stay under the random id they always had: they are no more than choices between answers, and models may have
learned from them. The free text he wrote (notes, ideal and written answers, objections) may say who he is; it is
blanked where he asks for it. This and `retention` are all that ever changes a judgment, and the log says so.
Exports and backups made before hold what they held, and questions that he asked in chats he voted on stay as prompts.
"""

from __future__ import annotations

import secrets

from sqlalchemy import ColumnElement, Connection, delete, select, update

from assent.core.records import Judgment
from assent.feedback import people
from assent.feedback.choice import put_back
from assent.feedback.database import lock
from assent.feedback.errors import NotAllowed
from assent.feedback.people import name_key
from assent.feedback.records import Person, Role
from assent.feedback.schema import (
    AssignmentRow,
    ChatRow,
    ContestRow,
    InviteRow,
    JudgmentRow,
    PersonRow,
    RaterRow,
    ReadRow,
    SessionRow,
    TokenRow,
)
from assent.feedback.store import Store

NAME = "gone-"
"""What the name of somebody who was forgotten begins with."""
NOTHING = ""
"""His password: no hash is empty, so that none opens the account."""


def delete_my_data(store: Store, person: Person, texts: bool = False) -> None:
    """A person takes himself out, with `texts` what he wrote too. Raises NotAllowed: he is the last lead."""
    store.write(lambda db, now: forget(db, now, person.id, person.id, texts))


def forget(db: Connection, now: float, person: str, by: str | None, texts: bool) -> None:
    """The same within a transaction; `by` None is somebody at the machine itself."""
    lock(db, "roles")
    found, name = people.find(db, person), NAME + secrets.token_hex(4)
    account = {"name": name, "name_key": name_key(name), "password": NOTHING, "active": False, "role": Role.rater.value}
    told = {"attributes": None, "opted_out": "[]", "daily_cap": None}
    db.execute(update(PersonRow).where(PersonRow.id == person).values(**account, **told))
    if found.active and not people.has_lead(db):
        raise NotAllowed("this would leave nobody as lead", fix="make somebody else lead first")
    put_back(db, AssignmentRow.person == person)
    for table in (SessionRow, TokenRow, InviteRow, ChatRow, ReadRow):
        db.execute(delete(table).where(table.person == person))
    db.execute(delete(InviteRow).where(InviteRow.by == person, InviteRow.used.is_(None)))
    bare = found.rater.model_dump_json(exclude_defaults=True)
    db.execute(update(RaterRow).where(RaterRow.id == found.rater.id).values(record=bare))
    what = person
    if texts:
        db.execute(update(ContestRow).where(ContestRow.person == person).values(text=""))
        what += f", texts of {blank(db, JudgmentRow.person == person, ideals=True)} judgments blanked"
    people.audit(db, now, by, "person forgotten", what)


def blank(db: Connection, where: ColumnElement[bool], ideals: bool) -> int:
    """Empty the notes of these judgments, with `ideals` the texts too; how many had any."""
    changed = 0
    for row in db.execute(select(JudgmentRow.n, JudgmentRow.record).where(where)).all():
        judgment = Judgment.model_validate_json(row.record)
        kept = judgment.model_copy(update={"note": "", "ideal": None if ideals else judgment.ideal})
        if kept != judgment:
            record = kept.model_dump_json(exclude_defaults=True)
            db.execute(update(JudgmentRow).where(JudgmentRow.n == row.n).values(record=record))
            changed += 1
    return changed
