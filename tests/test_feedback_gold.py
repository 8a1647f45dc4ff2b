"""Check items: made from the queue or a file, explained after the answer, tried again; on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assent.core.errors import DataError
from assent.core.records import Group
from assent.feedback import gold, takers
from assent.feedback.errors import BadVerdict, FeedbackError, NotAllowed, NotFound
from assent.feedback.gold_rows import read
from assent.feedback.records import Person, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import first_wins, fresh_url, given, groups, judge, open_store, person
from test_feedback_races import at_once


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url) as made:
        made.set_queue(Queue(gold=0, repeat=0, control=0))
        yield made


@pytest.fixture
def lead(store: Store) -> Person:
    return person(store, "Lead", Role.lead)


def known(group: Group, why: str = "since") -> gold.Known:
    return gold.Known(group, tuple((answer.id,) for answer in group.answers), why)


def number(store: Store, group: Group) -> int:
    return next(n for n, each in gold.candidates(store) if each.id == group.id)


def answer(store: Store, who: Person, key: str, right: bool = True) -> gold.Explained | None:
    item = given(store, who)
    tiers = first_wins(item).tiers
    return gold.explained(store, store.submit(who, item.id, key, Verdict(tiers=tiers if right else tiers[::-1])))


def test_an_item_of_the_queue_becomes_a_quiz_item_for_all_who_judged_it_or_not(store: Store, lead: Person) -> None:
    first, second = groups(2)
    store.add_groups([first, second], "compare", overlap=3)
    ada = person(store, "Ada")
    judge(store, ada, "k1")
    bo = person(store, "Bo")
    held = given(store, bo)
    assert gold.add(store, [known(first)], quiz=True, by=lead) == 1
    assert gold.add(store, [known(first)], quiz=True, by=lead) == 0
    store.submit(bo, held.id, "b0", first_wins(held))  # it was in his hands as work, and stays work
    assert [act.is_gold for act in store.judgments()] == [False, False]
    for who in (ada, bo, person(store, "Cy")):
        item = given(store, who)
        assert (item.why, item.group.id) == ("quiz", first.id)
        assert answer(store, who, "q") is not None
        assert given(store, who).group.id == second.id
    (shown,) = gold.overview(store)
    assert (shown.part, shown.answered, shown.right) == ("quiz", 3, 3)
    assert store.progress().judged == 0 and store.progress().places == 3  # the second's places only


def test_a_place_given_back_does_not_open_a_check_item_as_work(store: Store, lead: Person) -> None:
    (group,) = groups(1)
    store.add_groups([group], "compare", overlap=2)
    ada, bo = person(store, "Ada"), person(store, "Bo")
    held = given(store, ada)
    gold.add(store, [known(group)], quiz=False, by=lead)
    store.submit(ada, held.id, "k", Verdict(outcome="skip"))
    assert store.next(bo) == Wait(reason="nothing")


def test_what_is_told_after_an_answer(store: Store, lead: Person) -> None:
    (group,) = groups(1, answers=3)
    a, b, c = (answer.id for answer in group.answers)
    gold.add(store, [gold.Known(group, ((c,), (a, b)), "R1")], quiz=True, by=lead)
    ada, bo = person(store, "Ada"), person(store, "Bo")
    item = given(store, ada)
    kept = store.submit(ada, item.id, "k", Verdict(tiers=((c,), (b, a))))
    place = item.shown_order.index
    said = gold.Explained(True, ((place(c),), tuple(sorted((place(a), place(b))))), "R1", True)
    assert (
        gold.explained(store, kept) == gold.explained(store, store.submit(ada, item.id, "k", first_wins(item))) == said
    )
    skipped = store.submit(bo, given(store, bo).id, "k", Verdict(outcome="skip"))
    assert gold.explained(store, skipped) is None


def test_an_answer_that_was_explained_is_not_taken_back_but_a_skip_is(store: Store, lead: Person) -> None:
    gold.add(store, [known(group) for group in groups(2)], quiz=True, by=lead)
    ada = person(store, "Ada")
    store.submit(ada, given(store, ada).id, "s", Verdict(outcome="skip"))
    store.undo(ada)
    answer(store, ada, "k", right=False)
    with pytest.raises(NotAllowed, match="known answer was shown"):
        store.undo(ada)
    assert [act.outcome for act in store.judgments()] == ["skip", "skip", "ranked"]


def test_another_try_starts_over_and_is_given_once(store: Store, lead: Person) -> None:
    gold.add(store, [known(group) for group in groups(2)], quiz=True, by=lead)
    store.add_groups(groups(3)[2:], "compare")
    ada = person(store, "Ada")
    with pytest.raises(FeedbackError, match="not failed"):
        takers.allow_try(store, ada.id, lead)
    answer(store, ada, "k1")
    with pytest.raises(FeedbackError, match="not failed"):
        takers.allow_try(store, ada.id, lead)
    answer(store, ada, "k2", right=False)
    assert store.next(ada) == Wait(reason="quiz", detail="1 of 2")
    assert [(t.person.id, t.state, t.right, t.attempt) for t in takers.takers(store)] == [(ada.id, "failed", 1, 1)]
    with pytest.raises(NotAllowed):
        takers.allow_try(store, ada.id, ada)
    assert takers.allow_try(store, ada.id, lead) == 2
    with pytest.raises(FeedbackError, match="may try again already"):
        takers.allow_try(store, ada.id, lead)  # a double click
    assert [answer(store, ada, f"again{i}") is not None for i in range(2)] == [True, True]
    assert given(store, ada).why == "plain"
    assert [(t.state, t.attempt) for t in takers.takers(store)] == [("passed", 2)]
    acts = store.judgments()
    assert len(acts) == 4 and not any(act.supersedes or act.is_repeat for act in acts)
    assert [item.right for item in gold.overview(store)] == [1, 0]  # what was said before it was told
    assert [line.action for line in store.audit_log()].count("another try at the quiz") == 1


def test_a_check_during_work_and_its_end(store: Store, lead: Person) -> None:
    (group,) = groups(1)
    gold.add(store, [known(group)], quiz=False, by=lead)
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    ada, bo = person(store, "Ada"), person(store, "Bo")
    item = given(store, ada)
    assert item.why == "gold"
    (shown,) = gold.overview(store)
    gold.explain_as(store, shown.n, "R2 now", lead)
    assert (told := answer(store, ada, "k", right=False)) and (told.right, told.text, told.quiz) == (
        False,
        "R2 now",
        False,
    )
    gold.retire(store, shown.n, lead)
    assert store.next(bo) == Wait(reason="nothing")
    (shown,) = gold.overview(store)
    assert (shown.part, shown.answered, shown.right) == ("retired", 1, 0)
    assert store.work_of(ada).gold_total == 1


def test_what_is_refused_changes_nothing(store: Store, lead: Person) -> None:
    first, second = groups(2)
    store.add_groups([first], "compare")
    with pytest.raises(BadVerdict):
        gold.add(store, [known(second), gold.Known(first, ((first.answers[0].id,),))], quiz=True, by=lead)
    with pytest.raises(BadVerdict, match="4000"):
        gold.add(store, [known(second, "x" * 4001)], quiz=True, by=lead)
    with pytest.raises(NotAllowed):
        gold.add(store, [known(second)], quiz=True, by=person(store, "Rev", Role.reviewer))
    with pytest.raises(NotFound):
        gold.retire(store, number(store, first), lead)  # it is work
    with pytest.raises(NotFound):
        gold.item(store, 2**40)
    assert gold.overview(store) == [] and store.progress().items == 1


def test_the_queue_is_searched_as_text(store: Store, lead: Person) -> None:
    store.add_groups(groups(3), "compare")
    assert [group.prompt.text for _, group in gold.candidates(store, "QUESTION 1")] == ["question 1 of 2"]
    assert gold.candidates(store, "question_1") == [] == gold.candidates(store, "%x%")
    assert len(gold.candidates(store, "")) == 3


def test_rows_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "p", "chosen": "good", "rejected": "bad", "explanation": "R1"},
        {"prompt": "q", "ranking": ["one", ["two", "three"]]},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    pair, ranked = read(path)
    texts = {a.id: a.text for item in (pair, ranked) for a in item.group.answers}
    assert [[texts[a] for a in tier] for tier in pair.tiers] == [["good"], ["bad"]]
    assert [[texts[a] for a in tier] for tier in ranked.tiers] == [["one"], ["two", "three"]]
    assert (pair.kind, ranked.kind, pair.explanation, ranked.explanation) == ("compare", "rank", "R1", "")
    assert "explanation" not in pair.group.prompt.tags


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p"},
        {"prompt": "p", "completion": "c"},
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "ranking": "abc"},
        {"prompt": "p", "ranking": ["one"]},
        {"prompt": "p", "ranking": ["one", []]},
        {"prompt": "p", "ranking": ["one", "one"]},
        {"prompt": "p", "ranking": ["one", 2]},
        {"prompt": "p", "ranking": [str(k) for k in range(10)]},
        {"prompt": "p", "chosen": "a", "rejected": "b", "explanation": 7},
        {"ranking": ["one", "two"]},
    ],
)
def test_a_row_that_says_no_order_is_refused_with_its_place(row: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n" + json.dumps(row))
    with pytest.raises(DataError) as error:
        read(path)
    assert error.value.where == "row 2"


def test_two_leads_who_allow_another_try_at_once_allow_one(store: Store, lead: Person) -> None:
    (group,) = groups(1)
    store.add_groups([group], "compare")
    made = at_once(*(lambda: gold.add(store, [known(group)], quiz=True, by=lead) for _ in range(3)))
    assert sorted(made) == [0, 0, 1]
    ada = person(store, "Ada")
    answer(store, ada, "k", right=False)
    for attempt in (2, 3):
        got = at_once(*(lambda: takers.allow_try(store, ada.id, lead) for _ in range(3)))
        assert [each for each in got if each == attempt] == [attempt]
        assert all(isinstance(each, FeedbackError) for each in got if each != attempt)
        answer(store, ada, f"k{attempt}", right=False)
