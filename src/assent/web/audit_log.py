"""The audit log, page by page, the latest first."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from assent.feedback.audit_pages import NEWEST, lines
from assent.web.auth import Lead
from assent.web.page import render

router = APIRouter()
PAGE = 100


@router.get("/lead/audit")
def audit_log(request: Request, person: Lead, before: str = str(NEWEST)) -> Response:
    """Who did what, when. `before`: the line that the page begins after."""
    if not (before.isascii() and before.isdecimal() and len(before) <= 10 and int(before) <= NEWEST):
        raise HTTPException(400, "There is no such line in the log.")
    store = request.app.state.store
    shown, more = lines(store, int(before), PAGE)
    return render(
        request,
        "lead_audit.html.j2",
        lines=shown,
        names={each.id: each.name for each in store.people()},
        older=shown[-1].n if more else None,
        newest=before == str(NEWEST),
    )
