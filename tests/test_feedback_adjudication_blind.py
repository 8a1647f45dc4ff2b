"""Who opened a case knows what others said: he is not handed the item to judge, and judges it no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent.core.records import Group
from assent.feedback import adjudication
from assent.feedback.errors import LeaseExpired, NotAllowed, NotFound
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from assent.feedback.stuck import stuck
from feedback_store import Clock, first_wins, given, groups, judge, person
from web_tools import client, join


def opposed(store: Store) -> tuple[Group, Person]:
    """One item of which a third judgment is wanted, and a reviewer."""
    store.set_queue(Queue(gold=0, repeat=0, control=0, conflict=0))
    (group,) = groups(1)
    store.add_groups([group], "compare", overlap=3)
    for k, name in enumerate(("Ada", "Ben")):
        who = person(store, name)
        item = given(store, who)
        order = [(answer.id,) for answer in group.answers]
        store.submit(who, item.id, f"k{k}", Verdict(tiers=tuple(order[:: 1 - 2 * k]), strength=3))
    return group, person(store, "Rev", Role.reviewer)


def test_who_opened_a_case_is_not_handed_the_item(store: Store) -> None:
    group, rev = opposed(store)
    assert adjudication.opened(store, rev, group.id) == adjudication.case(store, group.id)
    adjudication.opened(store, rev, group.id)
    assert store.next(rev) == Wait(reason="nothing")
    assert given(store, person(store, "Cy")).group == group  # the place is somebody else's
    with pytest.raises(NotFound):
        adjudication.opened(store, rev, "none")


def test_what_he_has_in_hand_goes_to_somebody_else(store: Store) -> None:
    group, rev = opposed(store)
    item = given(store, rev)
    assert store.progress().leased == 1
    adjudication.opened(store, rev, group.id)
    assert store.progress().leased == 0 and store.next(rev) == Wait(reason="nothing")
    with pytest.raises(LeaseExpired, match="as a case"):  # his device had it already
        store.submit(rev, item.id, "late", first_wins(item))
    assert judge(store, person(store, "Cy"), "k").group == group


def test_a_judgment_from_before_stands(store: Store) -> None:
    group, rev = opposed(store)
    judge(store, rev, "mine")
    adjudication.opened(store, rev, group.id)
    with pytest.raises(NotAllowed, match="as a case"):
        store.undo(rev)
    assert store.work_of(rev).judged == 1


def test_an_opened_case_is_settled_and_taken_back_as_before(store: Store, clock: Clock) -> None:
    group, rev = opposed(store)
    adjudication.opened(store, rev, group.id)
    clock.now += 3600
    word = Verdict(outcome="both_bad")
    assert adjudication.settle(store, rev, group.id, "s1", word).reasons == ("adjudicated",)
    adjudication.opened(store, rev, group.id)  # looked at again
    store.undo(rev)
    assert store.next(rev) == Wait(reason="nothing")
    assert adjudication.case(store, group.id).settled is None
    assert adjudication.settle(store, rev, group.id, "s2", word).supersedes is not None


def test_opening_counts_as_no_lease_that_ended(store: Store) -> None:
    group, _ = opposed(store)
    for k in range(3):
        adjudication.opened(store, person(store, f"rev {k}", Role.reviewer), group.id)
    assert stuck(store, "flag") == []


def test_reading_the_page_opens_the_case(store: Store, tmp_path: Path) -> None:
    group, _ = opposed(store)
    http = client(store, tmp_path)
    join(store, http, Role.reviewer, "other")
    who = next(each for each in store.people() if each.name == "other")
    http.get("/lead/adjudicate")
    first = store.next(who)
    assert isinstance(first, Assignment)
    assert http.get("/lead/adjudicate/case", params={"group": group.id}).status_code == 200
    assert store.next(who) == Wait(reason="nothing")
