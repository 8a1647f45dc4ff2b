"""Somebody leaves and nothing of him stays but his votes; old traces go, and no others; on both databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from sqlalchemy import insert, select
from typer.testing import CliRunner

from assent.cli import feedback as feedback_commands
from assent.cli import feedback_retain as command
from assent.feedback import tokens
from assent.feedback.attributes import attributes, set_attributes
from assent.feedback.contests import checks, contest, contested
from assent.feedback.errors import BadVerdict, NotAllowed
from assent.feedback.forget import delete_my_data
from assent.feedback.mine import agreement_with_others, categories, exposure
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict
from assent.feedback.retention import Ended, retain
from assent.feedback.schema import Base, ChatRow
from assent.feedback.store import Store
from feedback_store import PASSWORD, Clock, first_wins, fresh_url, given, groups, judge, open_store, person

DAY = 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url, clock) as made:
        made.set_queue(Queue(gold=0, repeat=0, control=0))
        yield made


@pytest.fixture
def lead(store: Store) -> Person:
    return person(store, "lead", Role.lead)


def everything(store: Store) -> str:
    """Every row of every table. They hold random ids: what is looked for must be longer than chance writes."""
    return store.read(
        lambda db: "\n".join(repr(row) for t in Base.metadata.sorted_tables for row in db.execute(select(t)))
    )


def chat(store: Store, who: Person, id: str) -> None:
    def work(db, now):  # type: ignore[no-untyped-def]
        db.execute(insert(ChatRow).values(id=id, person=who.id, record="{}", created=now, changed=now))

    store.write(work)


def test_who_leaves_leaves_votes_and_nothing_else(store: Store, lead: Person) -> None:
    other = person(store, "Wilhelmina", Role.lead)
    store.add_groups(groups(3), "compare")
    for i, more in enumerate(({"note": "I am from Oberammergau"}, {"ideal": "As they say in Oberammergau"})):
        item = given(store, other)
        store.submit(other, item.id, f"k{i}", first_wins(item, **more))
    open_item = given(store, other)
    votes = [(j.group, j.tiers, j.rater) for j in store.judgments()]
    session, token = store.sign_in("Wilhelmina", PASSWORD), tokens.make(store, other, "t", 9)
    link = store.reset_link(other.id, by=lead.id)
    set_attributes(store, other, {"age": "30 to 44"})
    store.set_limits(other, ["hate"], 5)
    chat(store, other, "parting-words")
    delete_my_data(store, other, texts=True)
    left = everything(store)
    assert (
        "Wilhelmina" not in left
        and "wilhelmina" not in left
        and "Oberammergau" not in left
        and "parting-words" not in left
    )
    assert [(j.group, j.tiers, j.rater) for j in store.judgments()] == votes
    assert store.person_of(session) is None and tokens.person_of(store, token) is None and attributes(store) == {}
    for attempt in (lambda: store.sign_in("Wilhelmina", PASSWORD), lambda: store.set_password(link, PASSWORD + "x")):
        with pytest.raises(NotAllowed):
            attempt()
    shell = next(each for each in store.people() if each.id == other.id)
    assert re.fullmatch("gone-[0-9a-f]{8}", shell.name)
    assert (shell.active, shell.role, shell.opted_out, shell.daily_cap) == (False, Role.rater, (), None)
    assert store.progress().leased == 0 and given(store, lead).group == open_item.group
    entry = store.audit_log(1)[0]
    assert (entry.action, entry.actor, entry.what) == (
        "person forgotten",
        other.id,
        f"{other.id}, texts of 2 judgments blanked",
    )
    with pytest.raises(NotAllowed):
        store.sign_in(shell.name, "")


def test_texts_stay_where_nobody_asked_and_other_peoples_always(store: Store, lead: Person) -> None:
    other = person(store, "other")
    store.add_groups(groups(2), "compare")
    for who in (lead, other):
        item = given(store, who)
        store.submit(who, item.id, "k", first_wins(item, note=f"by {who.name}"))
    before = store.judgments()
    delete_my_data(store, other)
    assert store.judgments() == before
    assert other.name not in [each.name for each in store.people()]


def test_the_last_lead_stays(store: Store, lead: Person) -> None:
    before = everything(store)
    with pytest.raises(NotAllowed, match="nobody as lead"):
        delete_my_data(store, lead, texts=True)
    assert everything(store) == before


def test_only_what_is_old_and_not_needed_goes(store: Store, lead: Person, clock: Clock) -> None:
    closed, closed_late, busy = (person(store, name) for name in ("Anna", "Berta", "Carla"))
    store.add_groups(groups(2), "compare")
    item = given(store, busy)
    store.submit(busy, item.id, "old", first_wins(item, note="an old note", ideal="an ideal"))
    store.change_person(lead.id, closed.id, active=False)
    store.sign_in("Carla", PASSWORD)  # ends after 14 days
    tokens.make(store, lead, "short", 1)
    chat(store, busy, "old")
    clock.now += 60 * DAY
    store.change_person(lead.id, closed_late.id, active=False)
    item = given(store, busy)
    store.submit(busy, item.id, "new", first_wins(item, note="a new note"))
    store.sign_in("Carla", PASSWORD)
    tokens.make(store, lead, "long", 9)
    chat(store, busy, "new")
    before = everything(store)
    # ended: the short token and four used invites; signing in again took Carla's first session away
    expected = Ended(notes=1, chats=1, accounts=1, signs=5)
    assert retain(store, 40, dry_run=True) == expected
    assert everything(store) == before
    assert retain(store, 40) == expected
    names = {each.name for each in store.people()}
    assert {"lead", "Berta", "Carla"} < names and "Anna" not in names
    first, second = store.judgments()
    assert (first.note, first.ideal, second.note) == ("", "an ideal", "a new note")
    assert [each.name for each in tokens.listed(store)] == ["long"]
    assert store.audit_log(1)[0].action == "retention"
    assert retain(store, 40) == Ended(notes=0, chats=0, accounts=0, signs=0)


def test_days_are_at_least_one(store: Store) -> None:
    for days in (0, -1):
        with pytest.raises(BadVerdict):
            retain(store, days)


def test_my_work_and_contests_say_the_same_on_both_databases(store: Store, lead: Person) -> None:
    one = person(store, "one")
    store.add_groups(groups(10, sensitive="hate"), "compare", overlap=2)
    for i in range(10):
        judge(store, one, f"k{i}")
        item = given(store, lead)
        store.submit(lead, item.id, f"k{i}", Verdict(outcome="both_bad") if i < 4 else first_wins(item))
    found = agreement_with_others(store, one)
    assert found is not None and (found.estimate, found.n, found.rows) == (0.6, 10, 10)
    assert categories(store) == ["hate"]
    assert [(e.category, e.items) for e in exposure(store, one, store.work_of(one).judgments)] == [("hate", 10)]
    (check,) = groups(1, answers=3)
    store.add_groups([check], "rank", gold={check.id: [[a.id] for a in reversed(check.answers)]})
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    assert isinstance(judge(store, one, "gold"), Assignment)
    (wrong,) = checks(store, one)
    contest(store, one, wrong.judgment.id, "No.")
    assert [c.contest and c.contest.text for c in contested(store)] == ["No."]


def test_the_command_counts_first_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    app = typer.Typer()
    feedback_commands.register(app)
    command.register(app)
    path = str(tmp_path / "feedback.db")
    with open_store(path, Clock(1_000_000_000.0)) as store:
        person(store, "lead", Role.lead)
    say = CliRunner().invoke
    for more, count in ((["--dry-run"], 1), ([], 1), ([], 0)):
        got = say(app, ["feedback", "retain", "--db", path, "--days", "30", *more])
        assert got.exit_code == 0 and f"failed sign-ins: {count}" in got.output
    assert say(app, ["feedback", "retain", "--db", path, "--days", "0"]).exit_code == 2
    assert say(app, ["feedback", "retain", "--db", path]).exit_code == 2
