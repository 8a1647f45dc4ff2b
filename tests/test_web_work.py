"""My work: agreement counted by hand, check items contested and answered, and only what concerns the person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assent.core.records import Group
from assent.feedback import mine, reads
from assent.feedback.contests import checks, contest, contested, reply
from assent.feedback.errors import BadVerdict, NotAllowed, NotFound
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict
from assent.feedback.store import Store
from assent.stats.agreement import Vote
from web_tools import client, groups, join, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def person(store: Store, name: str, role: Role = Role.rater) -> Person:
    return store.accept(store.invite(role, None), name, "a long password")


def say(store: Store, who: Person, place: int, **more: object) -> Group:
    """Answer `place` of the group, as the group has them, wins; the screen's order plays no part."""
    item = store.next(who)
    assert isinstance(item, Assignment), item
    ids = [answer.id for answer in item.group.answers]
    tiers = ((ids[place],), (ids[1 - place],))
    store.submit(who, item.id, item.id[:20], Verdict.model_validate({"tiers": tiers, "strength": 1, **more}))
    return item.group


def known(store: Store, n: int) -> list[Group]:
    """Check items on which the first answer is the better one, and nothing else to do."""
    made = groups(n)
    store.add_groups(made, "compare", gold={group.id: [[a.id] for a in group.answers] for group in made})
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    return made


def test_agreement_is_the_share_of_the_others_votes_that_are_mine() -> None:
    cast = [Vote(f"u{i}", f"i{i}", rater, value) for i in range(10) for rater, value in (("me", "first"), ("a", "tie"))]
    cast += [Vote("u0", "i0", "b", "first"), Vote("u0", "i0", "c", "first"), Vote("u99", "i99", "me", "first")]
    cast += [Vote("u77", "i77", "a", "first"), Vote("u77", "i77", "b", "first")]
    found = mine.agreement(cast, "me")
    assert found is not None
    assert found.estimate == pytest.approx((2 / 3) / 10)  # on i0 two of three, on the other nine none
    assert (found.n, found.rows) == (10, 10)
    assert mine.agreement(cast[:18], "me") is None  # nine prompts
    assert mine.agreement([], "me") is None


def test_agreement_is_of_people_here_whatever_order_was_shown(store: Store) -> None:
    one, two, three = (person(store, name) for name in ("one", "two", "three"))
    store.add_groups(groups(12), "compare", overlap=2)
    for i in range(12):
        say(store, one, 0)
        say(store, two, 0 if i < 9 else 1)
    found = mine.agreement_with_others(store, one)
    assert found is not None and found.estimate == 0.75 and found.rows == 12
    assert mine.agreement_with_others(store, two) == found
    assert mine.agreement_with_others(store, three) is None


def test_an_undone_answer_of_somebody_else_agrees_with_nobody(store: Store) -> None:
    one, two = person(store, "one"), person(store, "two")
    store.add_groups(groups(11), "compare", overlap=2)
    for _ in range(11):
        say(store, one, 0)
        say(store, two, 0)
    store.undo(two, "u")
    found = mine.agreement_with_others(store, one)
    assert found is not None and found.rows == 10
    store.submit(two, store.next(two).id, "s", Verdict(outcome="skip"))  # type: ignore[union-attr]
    found = mine.agreement_with_others(store, one)
    assert found is not None and found.rows == 10


def test_time_and_items_by_category(store: Store) -> None:
    one = person(store, "one")
    tagged = [
        Group(prompt=g.prompt.model_copy(update={"tags": {"sensitive": tag}}), answers=g.answers)
        for g, tag in zip(groups(3), ("violence", "hate", "violence"), strict=True)
    ]
    store.add_groups([*tagged, *groups(1, say="Plain")], "compare")
    for ms in (1000, 2000, 4000, 8000):
        say(store, one, 0, visible_ms=ms)
    found = mine.exposure(store, one, store.work_of(one).judgments)
    assert [(e.category, e.items, e.seconds) for e in found] == [("hate", 1, 2.0), ("violence", 2, 5.0)]
    assert mine.categories(store) == ["hate", "violence"]


def test_a_wrong_check_item_is_contested_once_and_answered(store: Store) -> None:
    one, two, lead = person(store, "one"), person(store, "two"), person(store, "lead", Role.lead)
    known(store, 2)
    say(store, one, 1)
    say(store, one, 0)
    right, wrong = checks(store, one)
    assert (right.right, wrong.right) == (True, False)
    assert wrong.known == tuple((a.id,) for a in wrong.group.answers)
    with pytest.raises(BadVerdict, match="nothing to contest"):
        contest(store, one, right.judgment.id, "I was right")
    for text in ("", "  \x00 ", "x" * 4001):
        with pytest.raises(BadVerdict, match="in 1 to 4000"):
            contest(store, one, wrong.judgment.id, text)
    for id in ("none", "\x00", wrong.judgment.id):
        with pytest.raises(NotFound):
            contest(store, two, id, "not mine")
    contest(store, one, wrong.judgment.id, " It is a trick question. ")
    with pytest.raises(BadVerdict, match="already"):
        contest(store, one, wrong.judgment.id, "Again")
    (found,) = contested(store)
    assert found.contest and (found.contest.text, found.contest.reply) == ("It is a trick question.", None)
    with pytest.raises(NotAllowed):
        reply(store, two, found.contest.n, "No")
    with pytest.raises(NotFound):
        reply(store, lead, found.contest.n + 1, "No")
    reply(store, lead, found.contest.n, "You are right.")
    answered = checks(store, one)[1].contest
    assert answered and answered.reply == "You are right."
    assert {entry.action for entry in store.audit_log(2)} == {"contested", "answered contest"}


def test_objections_without_an_answer_come_first(store: Store) -> None:
    one, lead = person(store, "one"), person(store, "lead", Role.lead)
    known(store, 3)
    for _ in range(3):
        say(store, one, 1)
    for i, check in enumerate(reversed(checks(store, one))):
        contest(store, one, check.judgment.id, f"objection {i}")
    newest = contested(store)[0].contest
    assert newest and newest.text == "objection 2"
    reply(store, lead, newest.n, "Seen.")
    assert [c.contest.text for c in contested(store) if c.contest] == ["objection 1", "objection 0", "objection 2"]


def test_a_skipped_check_item_is_none(store: Store) -> None:
    one = person(store, "one")
    known(store, 1)
    item = store.next(one)
    assert isinstance(item, Assignment)
    store.submit(one, item.id, "again", Verdict(outcome="skip"))
    assert checks(store, one) == []


def test_the_page_reads_its_own_groups_only(store: Store, http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    token = join(store, http, Role.rater, "one")
    one = store.people()[0]
    made = known(store, 1)
    say(store, one, 1, note="<script>bad()</script>")

    def all_of_them(*_: object) -> None:
        raise AssertionError("reads every group or judgment of the project")

    monkeypatch.setattr(reads, "groups", all_of_them)
    monkeypatch.setattr(reads, "judgments", all_of_them)
    page = http.get("/work").text
    assert made[0].prompt.text in page and "<script>bad" not in page and "not enough data" in page
    judgment = re.search(r'name="judgment" value="([^"]+)"', page)
    assert judgment
    sent = {"csrf": token, "judgment": judgment[1], "text": "<img src=x onerror=bad()>"}
    assert http.post("/work/contest", data=sent).status_code == 303
    assert http.post("/work/contest", data=sent).status_code == 400
    page = http.get("/work").text
    assert "&lt;img src=x" in page and "Not answered yet." in page


def test_a_reviewer_answers_without_seeing_a_name(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.reviewer, "reviewer")
    one = person(store, "Wilhelmina")
    known(store, 1)
    say(store, one, 1)
    contest(store, one, checks(store, one)[0].judgment.id, "Both say the same.")
    page = http.get("/lead/contests").text
    assert "Both say the same." in page and "Wilhelmina" not in page and one.id not in page
    n = re.search(r'name="contest" value="(\d+)"', page)
    assert n
    for bad, status in (("x", 400), ("²", 400), ("999", 404)):
        assert http.post("/lead/contests", data={"csrf": token, "contest": bad, "text": "t"}).status_code == status
    assert http.post("/lead/contests", data={"csrf": token, "contest": n[1], "text": "So be it."}).status_code == 303
    assert "So be it." in http.get("/lead/contests").text
