"""Accounts: invites, passwords, sessions, the throttle, roles; no secret in the store or the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select

from assent.feedback.errors import NotAllowed, NotFound, Throttled
from assent.feedback.people import INVITE_SECONDS, SESSION_SECONDS, THROTTLE_SECONDS
from assent.feedback.records import Role
from assent.feedback.store import Store
from feedback_store import PASSWORD, Clock, first_wins, fresh_url, groups, open_store, person


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url, clock) as opened:
        yield opened


def test_the_first_lead_comes_by_a_link_and_invites_the_others(store: Store) -> None:
    assert not store.has_lead()
    lead = person(store, "Ada", Role.lead)
    assert store.has_lead() and lead.role is Role.lead
    rater = store.accept(store.invite(Role.rater, by=lead.id), "Ben", PASSWORD)
    with pytest.raises(NotAllowed):
        store.invite(Role.lead, by=rater.id)
    with pytest.raises(NotFound):
        store.invite(Role.lead, by="invented")
    assert {p.name: p.role for p in store.people()} == {"Ada": Role.lead, "Ben": Role.rater}


def test_an_invite_works_once_and_for_a_week(store: Store, clock: Clock) -> None:
    token, late = store.invite(Role.rater, by=None), store.invite(Role.rater, by=None)
    store.accept(token, "Ada", PASSWORD)
    for bad in (token, "", "x" * 43, "\ud800"):
        with pytest.raises(NotAllowed, match="link"):
            store.accept(bad, "Ben", PASSWORD)
    clock.now += INVITE_SECONDS
    with pytest.raises(NotAllowed, match="link"):
        store.accept(late, "Ben", PASSWORD)


def test_a_refused_name_or_password_does_not_use_the_invite_up(store: Store) -> None:
    person(store, "Ada")
    token = store.invite(Role.rater, by=None)
    for name, password in (
        ("ADA ", PASSWORD),
        ("", PASSWORD),
        ("a\nb", PASSWORD),
        ("x" * 61, PASSWORD),
        ("Ben", "short"),
        ("Ben", "aaaaaaaaaaaa"),
        ("Ben Benson", "ben benson"),
        ("Ben", "x1y2" * 65),
    ):
        with pytest.raises(NotAllowed):
            store.accept(token, name, password)
    assert store.accept(token, "Ben", PASSWORD).name == "Ben"


def test_of_many_who_use_one_invite_at_once_one_gets_in(store: Store) -> None:
    token = store.invite(Role.rater, by=None)
    ready, joined, refused = threading.Barrier(4), [], []

    def work(k: int) -> None:
        ready.wait()
        try:
            joined.append(store.accept(token, f"Rater {k}", PASSWORD))
        except NotAllowed as error:
            refused.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(joined), len(refused)) == (1, 3) and store.people() == joined


def test_sessions_open_and_end(store: Store, clock: Clock) -> None:
    ada = person(store, "Ada")
    one, two = store.sign_in("ada", PASSWORD), store.sign_in("Ada", PASSWORD)
    assert store.person_of(one) == store.person_of(two) == ada
    assert store.person_of("") is None and store.person_of("\ud800") is None
    store.sign_out(one)
    store.sign_out("unknown")
    assert store.person_of(one) is None and store.person_of(two) == ada
    clock.now += SESSION_SECONDS
    assert store.person_of(two) is None


def test_five_failures_close_the_door_for_a_while(store: Store, clock: Clock) -> None:
    person(store, "Ada")
    person(store, "Ben")
    for name in ("Ada", "Nobody"):
        for _ in range(5):
            with pytest.raises(NotAllowed, match="the name or the password"):
                store.sign_in(name, "wrong password")
            clock.now += 60
        with pytest.raises(Throttled) as found:
            store.sign_in(name.upper(), PASSWORD)
        assert found.value.wait == THROTTLE_SECONDS - 300
    assert store.sign_in("Ben", PASSWORD)
    clock.now += THROTTLE_SECONDS - 300
    assert store.sign_in("Ada", PASSWORD)


def test_a_success_forgets_the_failures(store: Store) -> None:
    person(store, "Ada")
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(NotAllowed):
                store.sign_in("Ada", "wrong password")
        assert store.sign_in("Ada", PASSWORD)


def test_guesses_at_once_are_all_counted(store: Store) -> None:
    person(store, "Ada")
    ready, outcomes = threading.Barrier(12), []

    def guess() -> None:
        ready.wait()
        try:
            store.sign_in("Ada", "wrong password")
        except NotAllowed as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(NotAllowed) == 5 and outcomes.count(Throttled) == 7


def test_a_reset_link_sets_a_password_and_ends_sessions(store: Store) -> None:
    lead, ben = person(store, "Ada", Role.lead), person(store, "Ben")
    session = store.sign_in("Ben", PASSWORD)
    with pytest.raises(NotAllowed):
        store.reset_link(lead.id, by=ben.id)
    link = store.reset_link(ben.id, by=lead.id)
    with pytest.raises(NotAllowed, match="makes no account"):
        store.accept(link, "Cy", PASSWORD)
    with pytest.raises(NotAllowed, match="sets no password"):
        store.set_password(store.invite(Role.rater, by=lead.id), "another password")
    assert store.set_password(link, "another password") == ben
    assert store.person_of(session) is None
    with pytest.raises(NotAllowed):
        store.sign_in("Ben", PASSWORD)
    assert store.sign_in("Ben", "another password")
    with pytest.raises(NotAllowed):
        store.set_password(link, "a third password")


def test_a_closed_account_does_nothing_and_the_last_lead_stays(store: Store) -> None:
    lead, ben = person(store, "Ada", Role.lead), person(store, "Ben")
    session = store.sign_in("Ben", PASSWORD)
    store.add_groups(groups(1), "compare")
    item = store.next(ben)
    with pytest.raises(NotAllowed):
        store.change_person(ben.id, lead.id, role=Role.rater)
    store.change_person(lead.id, ben.id, active=False)
    assert store.person_of(session) is None
    with pytest.raises(NotAllowed):
        store.sign_in("Ben", PASSWORD)
    with pytest.raises(NotAllowed):
        store.next(ben)
    with pytest.raises(NotAllowed):
        store.submit(ben, item.id, "k", first_wins(item))  # type: ignore[union-attr,arg-type]
    for change in ({"active": False}, {"role": Role.rater}):
        with pytest.raises(NotAllowed, match="nobody as lead"):
            store.change_person(lead.id, lead.id, **change)  # type: ignore[arg-type]
    assert {p.name: p.active for p in store.people()} == {"Ada": True, "Ben": False} and store.has_lead()


def test_no_secret_is_stored_or_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Every cell of every table, every log line, and the messages of refusals, searched for what must not be there."""
    caplog.set_level(logging.DEBUG)
    invite = store.invite(Role.lead, by=None)
    ada = store.accept(invite, "Ada", PASSWORD)
    session, link = store.sign_in("Ada", PASSWORD), store.reset_link(ada.id, by=ada.id)
    messages = []
    for secret in ("mistyped secret", PASSWORD + "x"):
        with pytest.raises(NotAllowed) as found:
            store.sign_in(secret, secret)
        messages.append(str(found.value))
    secrets = [invite, session, link, PASSWORD, "mistyped secret"]
    with store._engine.connect() as db:
        tables = MetaData()
        tables.reflect(db)
        cells = [str(cell) for t in tables.sorted_tables for row in db.execute(select(t)) for cell in row]
    assert len(cells) > 20 and any(cell.startswith("$argon2id$") for cell in cells)
    for text in (*cells, *messages, caplog.text, repr(ada), repr(store)):
        assert not any(secret in text for secret in secrets)


def test_the_audit_log_tells_who_did_what(store: Store, clock: Clock) -> None:
    ada = person(store, "Ada", Role.lead)
    clock.now += 5
    store.audit(ada.id, "export", "42 rows")
    latest = store.audit_log()[0]
    assert (latest.actor, latest.action, latest.what, latest.at) == (ada.id, "export", "42 rows", clock.now)
    assert [entry.action for entry in store.audit_log()] == ["export", "joined", "invite"]
    assert len(store.audit_log(limit=1)) == 1
