"""The audit log a page at a time."""

from __future__ import annotations

from sqlalchemy import select

from assent.feedback.records import AuditEntry
from assent.feedback.schema import AuditRow
from assent.feedback.store import Store

NEWEST = 2**31 - 1
"""No line has a larger number, on either database."""


def lines(store: Store, before: int = NEWEST, limit: int = 100) -> tuple[list[AuditEntry], bool]:
    """Up to `limit` lines older than line `before`, the latest first; and whether there are still older ones."""
    wanted = select(AuditRow.__table__).where(AuditRow.n < before).order_by(AuditRow.n.desc()).limit(limit + 1)
    found = store.read(lambda db: [AuditEntry(**row) for row in db.execute(wanted).mappings()])
    return found[:limit], len(found) > limit
