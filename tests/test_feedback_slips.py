"""Places where a second look found something: rare orders of events, and people who come and go meanwhile."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import DBAPIError

from assent.core.records import Judgment, Rater
from assent.feedback import adjudication, choice, database, forget, gold, mine, queue, tokens
from assent.feedback.acts import SETTLED
from assent.feedback.errors import BadVerdict, NotAllowed, Unavailable
from assent.feedback.export_datasheet import describe
from assent.feedback.export_filters import strata
from assent.feedback.records import Assignment, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from assent.formats.feedback import Feedback
from feedback_store import PASSWORD, Clock, first_wins, given, groups, judge, person


def test_a_new_file_that_somebody_writes_to_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(database, "time", SimpleNamespace(sleep=wait, monotonic=time.monotonic))
    with Store.open(str(path), create=True) as store:
        assert store.progress().items == 0
    assert len(waits) == 1
    other.close()


def while_released(store: Store, clock: Clock, work: Callable[[], object]) -> None:
    """Run `work` while another server has taken ended leases back and has not committed that yet."""
    thread = threading.Thread(target=work)
    with database.writing(store._engine) as db:
        assert queue.release(db, clock.now) == 1
        thread.start()
        thread.join(0.3)  # long enough for what would not wait; what waits, waits as long as it takes
    thread.join()


def test_who_asks_while_ended_leases_are_taken_back_gets_one(store: Store, clock: Clock) -> None:
    ada, bob = person(store, "Ada"), person(store, "Bob")
    store.add_groups(groups(1), "compare")
    given(store, ada)
    clock.now += 3600
    got: list[object] = []
    while_released(store, clock, lambda: got.append(store.next(bob)))
    assert isinstance(got[0], Assignment), got


def test_who_is_forgotten_when_his_lease_ends_gives_one_place_back(store: Store, clock: Clock) -> None:
    ada, bob = person(store, "Ada"), person(store, "Bob", Role.lead)
    store.add_groups(groups(1), "compare", overlap=2)
    given(store, ada)
    clock.now += 600
    given(store, bob)
    clock.now += 600
    while_released(store, clock, lambda: forget.delete_my_data(store, ada))
    progress = store.progress()
    assert (progress.leased, progress.judged) == (1, 0)


def test_a_lease_that_ended_is_a_check_item_once_its_item_is_one(store: Store, clock: Clock) -> None:
    lead, ada = person(store, "Lead", Role.lead), person(store, "Ada")
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    (group,) = groups(1)
    store.add_groups([group], "compare")
    given(store, ada)
    clock.now += 3600
    store.next(lead)  # takes the ended lease back
    known = gold.Known(group, tuple((answer.id,) for answer in group.answers))
    assert gold.add(store, [known], False, lead) == 1
    item = given(store, ada)
    assert item.why == "gold"
    store.submit(ada, item.id, "k1", Verdict(outcome="skip"))
    store.undo(ada, "u1")
    assert store.submit(ada, item.id, "k2", first_wins(item)).is_gold
    assert store.work_of(ada).gold_right == 1


def test_a_settling_taken_back_is_no_item_to_judge(store: Store) -> None:
    ada, bob, eve = (person(store, name, Role.reviewer) for name in ("Ada", "Bob", "Eve"))
    (group,) = groups(1)
    store.add_groups([group], "compare", overlap=2)
    judge(store, ada, "a")
    judge(store, bob, "b")
    verdict = Verdict(tiers=tuple((answer.id,) for answer in group.answers), strength=3)
    adjudication.settle(store, eve, group.id, "s1", verdict)
    store.undo(eve, "u")
    assert adjudication.case(store, group.id).settled is None
    assert store.next(eve) == Wait(reason="nothing")
    settled = adjudication.settle(store, eve, group.id, "s2", verdict)
    assert adjudication.case(store, group.id).settled == settled


def test_leases_are_taken_back_after_the_clock_was_put_back(store: Store, clock: Clock) -> None:
    ada, bob = person(store, "Ada"), person(store, "Bob")
    clock.now += 1e6
    store.next(bob)
    clock.now -= 2e6
    store.add_groups(groups(1), "compare")
    given(store, bob)
    clock.now += 3600
    assert isinstance(store.next(ada), Assignment)


def test_a_closed_account_opens_no_door_later(store: Store, clock: Clock) -> None:
    lead, other = person(store, "Ada", Role.lead), person(store, "Bob", Role.lead)
    token, link = tokens.make(store, other, "nightly", 30), store.invite(Role.lead, other.id)
    reset = store.reset_link(lead.id, other.id)
    store.change_person(lead.id, other.id, active=False)
    store.change_person(lead.id, other.id, active=True)
    assert tokens.person_of(store, token) is None
    with pytest.raises(NotAllowed):
        store.accept(link, "Eve", PASSWORD)
    with pytest.raises(NotAllowed):
        store.set_password(reset, PASSWORD)


@pytest.mark.parametrize("leave", ["demoted", "forgotten"])
def test_links_end_with_the_lead_who_made_them(leave: str, store: Store) -> None:
    lead, other = person(store, "Ada", Role.lead), person(store, "Bob", Role.lead)
    link = store.invite(Role.lead, other.id)
    if leave == "demoted":
        store.change_person(lead.id, other.id, role=Role.rater)
    else:
        forget.delete_my_data(store, other)
    with pytest.raises(NotAllowed):
        store.accept(link, "Eve", PASSWORD)


def test_a_guideline_has_a_name_that_every_database_takes(store: Store) -> None:
    with pytest.raises(BadVerdict):
        store.add_guideline("text", "a\x00b")
    assert store.guidelines() == []


def test_own_agreement_leaves_check_items_out(store: Store) -> None:
    ada, bob = person(store, "Ada"), person(store, "Bob")
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    made = groups(12)
    store.add_groups(made, "compare", gold={g.id: [[a.id] for a in g.answers] for g in made})
    for who in (ada, bob):
        for k in range(12):
            judge(store, who, f"k{k}")
    assert mine.agreement_with_others(store, ada) is None


def test_agreement_of_an_export_leaves_out_what_was_settled_and_checked() -> None:
    """Two people differ on 12 groups; a reviewer takes one side each time, and both are right on 12 check items."""
    made = groups(24)

    def act(rater: str, k: int, first: int, **more: object) -> Judgment:
        ids = [answer.id for answer in made[k].answers]
        tiers = ((ids[first],), (ids[1 - first],))
        fields = {"id": f"{rater}-{k}", "group": made[k].id, "rater": rater, "tiers": tiers, "shown_order": ids, **more}
        return Judgment.model_validate(fields)

    said = [act(rater, k, first) for k in range(12) for rater, first in (("ada", 0), ("bob", 1))]
    said += [act("eve", k, 0, reasons=(SETTLED,)) for k in range(12)]
    said += [act(rater, k, 0, is_gold=True) for k in range(12, 24) for rater in ("ada", "bob")]
    feedback = Feedback(made, said, [Rater(id=name, kind="human") for name in ("ada", "bob", "eve")])
    facts = describe(feedback)
    assert facts["agreement"]["estimate"] == 0 and facts["agreement"]["n"] == 12
    assert facts["counts"]["judgments"] == len(said) == 60
    assert facts["first_shown_wins"]["rows"] == 48, "a case is shown in no random order"
    one = Feedback(made[:1], [said[0], said[24]], feedback.raters)
    assert strata(one) == {made[0].id: "single"}


@pytest.mark.parametrize("id", ["a\x00b", "x" * 401], ids=["nul", "long"])
def test_ids_that_a_database_cannot_hold_add_nothing(id: str, store: Store) -> None:
    good, bad = groups(2)
    with pytest.raises(BadVerdict, match="id"):
        store.add_groups([good, bad.model_copy(update={"id": id})], "compare")
    assert store.progress().items == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # elsewhere one writes at a time
def test_two_tabs_that_take_one_item_up_again_take_one_place(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = person(store, "Ada")
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    store.add_groups(groups(1), "compare", overlap=3)
    item = given(store, ada)
    clock.now += 3600
    store.next(person(store, "Bob"))  # takes the ended lease back
    look = choice._open

    def other_tab_first(*given_: object) -> int | None:
        monkeypatch.setattr(choice, "_open", look)
        found = look(*given_)  # type: ignore[arg-type]
        assert store.next(ada) == store.assignment(ada, item.id)
        return found

    monkeypatch.setattr(choice, "_open", other_tab_first)
    assert given(store, ada).id == item.id
    progress = store.progress()
    assert (progress.leased, progress.judged) == (2, 0)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_was_cut_is_said_and_the_next_one_works(store: Store) -> None:
    cut = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(Unavailable, match="terminating connection"):
        store.read(lambda db: db.exec_driver_sql(cut))
    assert store.progress().items == 0


def test_what_is_a_fault_of_ours_is_not_put_down_to_the_database(store: Store) -> None:
    with pytest.raises(DBAPIError):
        store.read(lambda db: db.exec_driver_sql("SELECT nothing FROM nowhere"))
