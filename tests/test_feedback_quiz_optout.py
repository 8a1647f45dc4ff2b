"""A quiz holds nothing of what a person opted out of; the mark is taken of what he was asked; the lead is told."""

from __future__ import annotations

from assent.core.records import Group
from assent.feedback import optout, takers
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import first_wins, given, groups, person


def asked_before_work(store: Store, plain: int, sensitive: int) -> None:
    """A quiz of groups whose first answer is right, and one item of work."""
    made: list[Group] = [*groups(plain), *groups(sensitive, answers=3, sensitive="violence")]
    gold = {group.id: [[answer.id] for answer in group.answers] for group in made}
    store.set_queue(Queue(gold=0, repeat=0, control=0, quiz_pass=1))
    for group in made:
        store.add_groups([group], "compare" if len(group.answers) == 2 else "rank", gold=gold, quiz=True)
    store.add_groups(groups(1, answers=4), "rank")


def right(store: Store, who: Person, key: str) -> Assignment:
    item = given(store, who)
    store.submit(who, item.id, key, first_wins(item))
    return item


def test_a_category_opted_out_of_is_no_part_of_the_quiz(store: Store) -> None:
    ada = person(store, "Ada")
    asked_before_work(store, plain=2, sensitive=2)
    ada = optout.set_limits(store, ada, ["violence"], None)
    assert [right(store, ada, f"k{k}").category for k in range(2)] == [None, None]
    assert given(store, ada).why == "plain"  # two of two
    (taker,) = takers.takers(store)
    assert (taker.state, taker.right, taker.total, taker.whole, taker.few) == ("passed", 2, 2, 4, False)


def test_what_lies_ready_of_the_quiz_is_put_back(store: Store) -> None:
    ada, ben = person(store, "Ada"), person(store, "Ben")
    asked_before_work(store, plain=0, sensitive=1)
    assert given(store, ada).category == "violence"
    ada = optout.set_limits(store, ada, ["violence"], None)
    assert given(store, ada).why == "plain"
    assert given(store, ben).category == "violence"  # of others it is asked as before
    ada = optout.set_limits(store, ada, [], None)
    work = given(store, ada)
    store.submit(ada, work.id, "k", first_wins(work))
    assert given(store, ada).why == "quiz"  # who opts in again takes it


def test_a_sensitive_item_is_skipped_freely_and_any_other_is_not(store: Store) -> None:
    ada = person(store, "Ada")
    asked_before_work(store, plain=2, sensitive=1)
    right(store, ada, "k0")
    plain = given(store, ada)
    assert plain.category is None
    store.submit(ada, plain.id, "k1", Verdict(outcome="skip"))
    sensitive = given(store, ada)
    store.submit(ada, sensitive.id, "k2", Verdict(outcome="skip"))
    assert store.next(ada) == Wait(reason="quiz", detail="1 of 2")


def test_both_bad_on_a_sensitive_item_is_an_answer(store: Store) -> None:
    ada = person(store, "Ada")
    asked_before_work(store, plain=1, sensitive=1)
    right(store, ada, "k0")
    store.submit(ada, given(store, ada).id, "k1", Verdict(outcome="both_bad"))
    assert store.next(ada) == Wait(reason="quiz", detail="1 of 2")


def test_opting_out_afterwards_takes_back_no_wrong_answer(store: Store) -> None:
    ada = person(store, "Ada")
    asked_before_work(store, plain=1, sensitive=1)
    right(store, ada, "k0")
    item = given(store, ada)
    order = [(answer.id,) for answer in item.group.answers]
    store.submit(ada, item.id, "k1", Verdict(tiers=tuple(reversed(order))))
    ada = optout.set_limits(store, ada, ["violence"], None)
    assert store.next(ada) == Wait(reason="quiz", detail="1 of 2")


def test_the_lead_is_told_where_little_of_the_quiz_is_left(store: Store) -> None:
    lead, ada = person(store, "Ada", Role.lead), person(store, "Bea")
    asked_before_work(store, plain=1, sensitive=2)
    assert takers.takers(store) == []
    ada = optout.set_limits(store, ada, ["violence"], None)
    (taker,) = takers.takers(store)  # before he begins
    assert (taker.person, taker.state, taker.total, taker.whole, taker.few) == (ada, "under way", 1, 3, True)
    right(store, ada, "k0")
    (taker,) = takers.takers(store)
    assert (taker.state, taker.few) == ("passed", True)
    assert lead.id not in {each.person.id for each in takers.takers(store)}
