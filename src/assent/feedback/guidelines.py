"""Guidelines: versions by content, the current one, their rules, and who read what.

A rule begins on a line with its id, `R1:` or `[R1]` (a list mark, a heading mark or bold may stand before it), and
goes on to the next rule or the next heading.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.people import audit
from assent.feedback.records import Guideline
from assent.feedback.schema import GuidelineRow, JudgmentRow, ReadRow

_MARKS = r"[ \t]{0,3}(?:#{1,6}[ \t]+|[-*+][ \t]+|\d{1,3}[.)][ \t]+)?(?:\*\*|__)?"
RULE = re.compile(
    rf"^{_MARKS}(?:\[([A-Z]{{1,4}}\d{{1,3}})\](?!\()|([A-Z]{{1,4}}\d{{1,3}})(?:\*\*|__)?[ \t]*:)", re.MULTILINE
)
"""The beginning of a rule; its id is in the one group or the other."""
HEADING = re.compile(r"^#{1,6}[ \t]", re.MULTILINE)


def rules(text: str) -> dict[str, str]:
    """Id -> the rule's text as written, id included, in order. Parts that repeat an id are joined."""
    starts = list(RULE.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    found: dict[str, str] = {}
    for start, end in zip(starts, ends, strict=False):
        heading = HEADING.search(text, start.end(), end)
        rule = text[start.start() : heading.start() if heading else end].strip()
        id = start[1] or start[2]
        found[id] = f"{found[id]}\n{rule}" if id in found else rule
    return found


def changed_rules(old: str, new: str) -> list[str]:
    """Ids of rules that were changed, added or taken out, in the new text's order, those taken out last.

    White space alone is no change.
    """
    before, after = rules(old), rules(new)
    changed = [id for id, rule in after.items() if id not in before or rule.split() != before[id].split()]
    return changed + [id for id in before if id not in after]


def version_of(text: str) -> str:
    """The first 12 hex digits of the SHA-256, as `collect: {guideline: FILE}` stamps them."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def add(db: Connection, now: float, text: str, name: str, by: str | None) -> str:
    """Make a text the current guideline; the current one again changes nothing."""
    if not text.strip() or "\x00" in text or "\x00" in name:
        raise BadVerdict("a guideline needs a name and a text, without the character U+0000")
    version = version_of(text)
    latest = current(db)
    if latest is None or latest.version != version:
        db.execute(insert(GuidelineRow).values(version=version, name=name, text=text, added=now))
        audit(db, now, by, "guideline", f"{name} {version}")
    return version


def history(db: Connection) -> list[Guideline]:
    """Every version in the order they came into force."""
    columns = (GuidelineRow.version, GuidelineRow.name, GuidelineRow.text, GuidelineRow.added)
    rows = db.execute(select(*columns).order_by(GuidelineRow.n)).mappings()
    return [Guideline(**row) for row in rows]


@dataclass(frozen=True)
class Version:
    """A version in force from `guideline.added` on. `rules`: ids of the rules it changed; `readers`, `acts`: how many
    people read it, and how many acts are stamped with it (also under an earlier turn of the same text)."""

    guideline: Guideline
    rules: tuple[str, ...]
    readers: int
    acts: int


def versions(db: Connection) -> list[Version]:
    """Every version in the order they came into force, with what came of it."""
    readers = {row[0]: row[1] for row in db.execute(select(ReadRow.version, func.count()).group_by(ReadRow.version))}
    stamped = select(JudgmentRow.guideline, func.count()).where(~JudgmentRow.undone).group_by(JudgmentRow.guideline)
    acts = {row[0]: row[1] for row in db.execute(stamped)}
    found, before = [], ""
    for each in history(db):
        rules = tuple(changed_rules(before, each.text))
        found.append(Version(each, rules, readers.get(each.version, 0), acts.get(each.version, 0)))
        before = each.text
    return found


def last_read(db: Connection, person: str) -> Guideline | None:
    """The version that a person read last; None where he has read none."""
    version = select(ReadRow.version).where(ReadRow.person == person).order_by(ReadRow.at.desc()).limit(1)
    columns = (GuidelineRow.version, GuidelineRow.name, GuidelineRow.text, GuidelineRow.added)
    wanted = select(*columns).where(GuidelineRow.version == version.scalar_subquery()).order_by(GuidelineRow.n.desc())
    row = db.execute(wanted.limit(1)).mappings().first()
    return None if row is None else Guideline(**row)


def current(db: Connection) -> Guideline | None:
    """The one in force."""
    columns = (GuidelineRow.version, GuidelineRow.name, GuidelineRow.text, GuidelineRow.added)
    row = db.execute(select(*columns).order_by(GuidelineRow.n.desc()).limit(1)).mappings().first()
    return None if row is None else Guideline(**row)


def current_version(db: Connection) -> str | None:
    """Its version only: asked with every item."""
    return db.execute(select(GuidelineRow.version).order_by(GuidelineRow.n.desc()).limit(1)).scalar()


def has_read(db: Connection, person: str, version: str) -> bool:
    """Whether a person read a version."""
    found = select(ReadRow.at).where(ReadRow.person == person, ReadRow.version == version)
    return db.execute(found).first() is not None


def read(db: Connection, now: float, person: str, version: str) -> None:
    """A person says that he read a version; again is fine. Raises NotFound."""
    known = select(GuidelineRow.n).where(GuidelineRow.version == version).limit(1)
    if not version.isprintable() or db.execute(known).first() is None:
        raise NotFound("no such guideline")
    if not has_read(db, person, version):
        db.execute(insert(ReadRow).values(version=version, person=person, at=now))
