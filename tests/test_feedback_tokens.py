"""Tokens: whom they act as, until when, and what is kept of them; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from assent.feedback import tokens
from assent.feedback.errors import BadVerdict, NotAllowed, NotFound
from assent.feedback.records import Person, Role
from assent.feedback.schema import TokenRow
from assent.feedback.store import Store
from feedback_store import Clock, fresh_url, open_store, person

DAY = 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url, clock) as made:
        yield made


@pytest.fixture
def lead(store: Store) -> Person:
    return person(store, "lead", Role.lead)


def test_a_token_acts_as_its_maker_until_it_ends(store: Store, lead: Person, clock: Clock) -> None:
    token = tokens.make(store, lead, " nightly ", 2)
    assert token.startswith("assent_") and len(token) >= 7 + 43  # 256 bits
    assert tokens.person_of(store, token) == lead
    clock.now += 2 * DAY - 1
    assert tokens.person_of(store, token) == lead
    clock.now += 1
    assert tokens.person_of(store, token) is None
    (found,) = tokens.listed(store)
    assert found.name == "nightly" and not found.works(clock.now) and found.works(clock.now - 1)


def test_only_the_hash_is_kept_and_nothing_secret_is_logged(store: Store, lead: Person) -> None:
    token = tokens.make(store, lead, "nightly", 2)
    rows = store.read(lambda db: db.execute(select(TokenRow.__table__)).all())
    assert token not in repr(rows) and len(rows[0].token_hash) == 64
    entry = store.audit_log(1)[0]
    assert entry.action == "token made" and token[7:] not in entry.what and rows[0].id in entry.what


def test_what_is_no_token_is_nobody_and_holds_up_nobody(
    store: Store, lead: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.make(store, lead, "nightly", 2)

    def waits(*_: object) -> None:
        raise AssertionError("a wrong token began a writing transaction")

    monkeypatch.setattr(store, "write", waits)
    for wrong in ("", "assent_", "x" * 500, "\x00", "é\ud800", "' OR 1=1 --"):
        assert tokens.person_of(store, wrong) is None
    assert tokens.person_of(store, token.removeprefix("assent_")) is None
    assert tokens.person_of(store, token[:-1]) is None


def test_a_revoked_token_is_nobodys_and_the_others_go_on(store: Store, lead: Person) -> None:
    first, second = tokens.make(store, lead, "first", 2), tokens.make(store, lead, "second", 2)
    by_name = {each.name: each.id for each in tokens.listed(store)}
    tokens.revoke(store, lead, by_name["first"])
    tokens.revoke(store, lead, by_name["first"])
    assert [entry.action for entry in store.audit_log(2)] == ["token revoked", "token made"]
    assert tokens.person_of(store, first) is None and tokens.person_of(store, second) == lead
    for id in ("none", "\x00"):
        with pytest.raises(NotFound):
            tokens.revoke(store, lead, id)


def test_a_new_password_ends_every_token_and_open_link_of_that_person(store: Store, lead: Person) -> None:
    other = person(store, "other", Role.lead)
    mine = [tokens.make(store, lead, name, 2) for name in "ab"]
    theirs = tokens.make(store, other, "c", 2)
    one, another = store.reset_link(lead.id, None), store.reset_link(lead.id, None)
    store.set_password(one, "another long password")
    with pytest.raises(NotAllowed):
        store.set_password(another, "a third long password")
    assert [tokens.person_of(store, token) for token in mine] == [None, None]
    assert tokens.person_of(store, theirs) == other


def test_a_token_has_the_role_its_person_has_now(store: Store, lead: Person) -> None:
    other = person(store, "other", Role.lead)
    token = tokens.make(store, other, "nightly", 2)
    store.change_person(lead.id, other.id, role=Role.rater)
    found = tokens.person_of(store, token)
    assert found and found.role == Role.rater
    store.change_person(lead.id, other.id, active=False)
    assert tokens.person_of(store, token) is None


def test_only_leads_make_and_revoke_tokens(store: Store, lead: Person) -> None:
    tokens.make(store, lead, "nightly", 2)
    id = tokens.listed(store)[0].id
    for role in (Role.rater, Role.reviewer):
        other = person(store, role, role)
        with pytest.raises(NotAllowed):
            tokens.make(store, other, "mine", 2)
        with pytest.raises(NotAllowed):
            tokens.revoke(store, other, id)


def test_a_token_needs_a_name_and_an_end(store: Store, lead: Person) -> None:
    for name, days in (("", 2), ("  ", 2), ("a\nb", 2), ("x" * 61, 2), ("a", 0), ("a", 366)):
        with pytest.raises(BadVerdict):
            tokens.make(store, lead, name, days)
    assert tokens.listed(store) == []
