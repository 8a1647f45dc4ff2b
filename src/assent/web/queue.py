"""The lead's pages on the queue: its mix, what comes next, what it costs, its items, and what to ask again."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, get_args

from fastapi import APIRouter, HTTPException, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from assent.feedback import places, withdrawn
from assent.feedback.cost import FEWEST, Cost, costs, total_hours
from assent.feedback.errors import BadVerdict
from assent.feedback.preview import AHEAD, preview
from assent.feedback.reask import Change, ask_again, touched
from assent.feedback.records import Kind, Queue
from assent.feedback.store import Store
from assent.web.auth import Form, Lead, field
from assent.web.language import gettext as _
from assent.web.language import said as translated
from assent.web.page import render

router = APIRouter(prefix="/lead/queue")
SHARES = ("gold", "repeat", "control", "conflict")
LISTED = 10
"""Items that a table shows."""
WITHDRAWN = 50
"""Withdrawn items on the page."""


class Again(NamedTuple):
    """What asking again would take: items and cost by kind."""

    kind: Kind
    items: int
    cost: Cost | None


@router.get("")
def page(request: Request, person: Lead, rater: str = "") -> Response:
    """The mix, the cost and the items; with `rater` (an id) what that person would get next."""
    return _page(request, rater=rater)


@router.post("/mix")
def mix(request: Request, person: Lead, form: Form) -> Response:
    """Choose otherwise from now on; shares that do not fit are said and nothing is changed."""
    store: Store = request.app.state.store
    typed = {name: field(form, name, 12).strip() for name in (*SHARES, "quiz_pass")}
    try:
        percents = {name: _percent(text) for name, text in typed.items()}
        together = sum(percents[name] for name in SHARES)
        if together > 100 + 1e-6:
            raise BadVerdict(f"The four shares are {together:g} % together. 100 % is the most; nothing was changed.")
    except BadVerdict as error:
        return _page(request, 400, problem=translated(error.what), typed=typed)
    values = {name: percent / 100 for name, percent in percents.items()}
    try:
        store.set_queue(Queue(**{**store.queue().model_dump(), **values}), by=person.id)
    except ValidationError:
        raise HTTPException(400, "These shares do not fit together.") from None
    return _page(request, said=_("The queue follows this mix from now on."))


@router.post("/items")
def items(request: Request, person: Lead, form: Form) -> Response:
    """Want more judgments of some items, or no more, or ask those again that were withdrawn."""
    store: Store = request.app.state.store
    chosen = _chosen(form)
    if field(form, "do") == "out":
        changed = places.take_out(store, chosen, by=person.id)
        text = _("Taken out of the queue: {n} items. What was judged is kept.")
        return _page(request, said=text.format(n=changed))
    if field(form, "do") == "again":
        changed = withdrawn.ask_again(store, chosen, by=person.id)
        return _page(request, said=_("Asked again: {n} items, of people who have not skipped them.").format(n=changed))
    wanted = field(form, "overlap", 3)
    if not (wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted) <= places.MOST_OVERLAP):
        raise HTTPException(400, f"Judgments wanted per item: a number from 1 to {places.MOST_OVERLAP}.")
    changed = places.want(store, chosen, int(wanted), by=person.id)
    text = _("Now {wanted} judgments are wanted of {n} items that had fewer.")
    return _page(request, said=text.format(wanted=wanted, n=changed))


@router.get("/reask")
def reask_page(request: Request, person: Lead, old: str = "") -> Response:
    """What the change from an older guideline to the one in force touches."""
    return _reask(request, old)


@router.post("/reask")
def reask(request: Request, person: Lead, form: Form) -> Response:
    """Want one judgment more of each item that was shown."""
    old = field(form, "old", 64)
    asked = ask_again(request.app.state.store, old, field(form, "new", 64), by=person.id)
    text = _("{n} items are asked of one more person each, under the guideline in force.")
    return _reask(request, old, said=text.format(n=asked))


def _percent(text: str) -> float:
    """A share as typed, 0 to 100. Raises BadVerdict."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise BadVerdict(f"“{text}” is no share. Give a number from 0 to 100; nothing was changed.")
    return value


def _chosen(form: FormData) -> places.Items:
    """The items a form names: those ticked, or a whole stack."""
    which = field(form, "which")
    if which != "ticked":
        return places.of_stack(which)
    ticked = [value for value in form.getlist("item") if isinstance(value, str)]
    if not ticked:
        raise HTTPException(400, "No item is ticked. Tick some, or choose all items of a kind.")
    if not all(value.isascii() and value.isdecimal() and len(value) < 10 for value in ticked):
        raise HTTPException(400, "There are no such items.")
    return places.these([int(value) for value in ticked])


def _page(
    request: Request,
    status: int = 200,
    problem: str = "",
    said: str = "",
    typed: dict[str, str] | None = None,
    rater: str = "",
) -> Response:
    store: Store = request.app.state.store
    rules, found, stacks = store.queue(), costs(store), places.stacks(store)
    now = {name: f"{100 * getattr(rules, name):g}" for name in (*SHARES, "quiz_pass")}
    return render(
        request,
        "lead_queue.html.j2",
        status,
        problem=problem,
        said=said,
        rules=rules,
        typed=typed or now,
        raters=[each for each in store.people() if each.active],
        rater=rater,
        next=Counter(preview(store, rater)).most_common() if rater else None,
        ahead=AHEAD,
        costs=found,
        total=total_hours(found),
        fewest=FEWEST,
        stacks=stacks,
        work=[stack for stack in stacks if stack.part == "work"],
        line=places.first_in_line(store, LISTED),
        withdrawn=withdrawn.listed(store),
        withdrawn_most=WITHDRAWN,
        skips_more=withdrawn.MORE,
        most=places.MOST_OVERLAP,
    )


def _reask(request: Request, old: str, said: str = "") -> Response:
    store: Store = request.app.state.store
    history = store.guidelines()
    current = history[-1] if history else None
    older = {each.version: each for each in reversed(history) if current and each.version != current.version}
    chosen = old or next(iter(older), "")
    change = touched(store, chosen, current.version) if current and older else None
    return render(
        request,
        "lead_queue_reask.html.j2",
        said=said,
        current=current,
        older=list(older.values()),
        old=chosen,
        change=change,
        kinds=_by_kind(store, change),
        whys=Counter(why for item in change.items for why in item.why).most_common() if change else [],
        listed=LISTED,
        fewest=FEWEST,
    )


def _by_kind(store: Store, change: Change | None) -> list[Again]:
    if change is None:
        return []
    counts = Counter(item.kind for item in change.items)
    known = {cost.kind: cost for cost in costs(store)}
    return [Again(kind, counts[kind], known.get(kind)) for kind in get_args(Kind) if counts[kind]]
