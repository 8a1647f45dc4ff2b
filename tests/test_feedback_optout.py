"""What a rater decided for himself holds at once: categories he will not see, and how much a day."""

from __future__ import annotations

from assent.feedback import optout
from assent.feedback.records import Assignment, Queue, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import first_wins, given, groups, judge, person


def test_what_is_in_hand_counts_for_the_daily_cap(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(5), "compare")
    ada = store.set_limits(ada, daily_cap=2)
    first = given(store, ada)
    second = given(store, ada, (first.id,))
    assert store.next(ada, (first.id, second.id)) == Wait(reason="cap")
    store.submit(ada, first.id, "k1", Verdict(outcome="skip"))
    third = given(store, ada, (second.id,))
    for k, item in enumerate((second, third)):
        store.submit(ada, item.id, f"t{k}", first_wins(item))
    assert store.next(ada) == Wait(reason="cap")


def test_an_opt_out_puts_back_what_lies_ready(store: Store) -> None:
    ada, bob = person(store, "Ada"), person(store, "Bob")
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    store.add_groups(groups(1, sensitive="violence"), "compare")
    store.add_groups(groups(1, answers=3), "rank")
    first = given(store, ada)
    given(store, ada, (first.id,))
    assert first.category == "violence"
    ada = optout.set_limits(store, ada, ["violence"], None)
    assert given(store, ada).kind == "rank"
    assert given(store, bob).group == first.group


def test_an_opt_out_holds_for_repeats(store: Store) -> None:
    ada = person(store, "Ada")
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    store.add_groups(groups(1, sensitive="violence"), "compare")
    store.add_groups(groups(11, answers=3), "rank")
    for k in range(12):
        judge(store, ada, f"k{k}")
    ada = optout.set_limits(store, ada, ["violence"], None)
    store.set_queue(Queue(gold=0, repeat=1, control=0))
    repeat = store.next(ada)
    assert isinstance(repeat, Assignment) and repeat.why == "repeat" and repeat.category is None
