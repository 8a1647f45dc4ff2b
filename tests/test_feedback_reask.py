"""What a change of the guideline touches, worked by hand; and asking once more, once."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from assent.core.records import Answer, Group, Prompt
from assent.feedback.errors import BadVerdict, NotFound
from assent.feedback.reask import ask_again, touched
from assent.feedback.records import Person, Queue, Wait
from assent.feedback.schema import ItemRow
from assent.feedback.store import Store
from feedback_store import first_wins, given, judge, person

ONE = "R1: Be right.\n\nR2: Be short.\n\nR12: Cite sources."
TWO = "R1: Be right.\n\nR2: Be as long as needed.\n\nR12: Cite sources."


def made(*prompts: str) -> list[Group]:
    asked = [Prompt.ask(text) for text in prompts]
    return [Group(prompt=p, answers=(Answer.of(p, "yes"), Answer.of(p, "no"))) for p in asked]


def overlaps(store: Store) -> list[int]:
    return list(store.read(lambda db: db.execute(select(ItemRow.overlap).order_by(ItemRow.n)).scalars().all()))


def answer(store: Store, who: Person, key: str, flip: bool = False, **more: object) -> None:
    item = given(store, who)
    right = first_wins(item, **more)
    verdict = right.model_copy(update={"tiers": right.tiers[::-1]}) if flip else right
    store.submit(who, item.id, key, verdict)


def judged(store: Store) -> tuple[str, list[Person]]:
    """Six items, two raters, under ONE: named in a note, in a reason, in the prompt, only R12, split, agreed."""
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    one, raters = store.add_guideline(ONE, "g"), [person(store, "Ada"), person(store, "Ben")]
    store.add_groups(made("a", "b", "What does R2 say?", "d", "e", "f"), "compare", overlap=2)
    for who in raters:
        store.read_guideline(who, one)
    ada, ben = raters
    answer(store, ada, "k0", note="too long (R2)")
    answer(store, ada, "k1", reasons=("R2",))
    answer(store, ada, "k2")
    answer(store, ada, "k3", note="see R12 and XR2")
    for key in ("k4", "k5"):
        answer(store, ada, key)
    for i in range(6):
        answer(store, ben, f"k{i}", flip=i == 4)
    return one, raters


def test_what_names_a_changed_rule_and_what_was_split_is_asked_once_more(store: Store) -> None:
    one, raters = judged(store)
    two = store.add_guideline(TWO, "g")
    change = touched(store, one, two)
    assert change.rules == ("R2",) and change.waiting == 0
    assert [(item.prompt, item.why) for item in change.items] == [
        ("a", ("R2",)),
        ("b", ("R2",)),
        ("What does R2 say?", ("R2",)),
        ("e", ("conflict",)),
    ]
    assert overlaps(store) == [2] * 6  # looking changes nothing
    assert ask_again(store, one, two, by=None) == 4 and overlaps(store) == [3, 3, 3, 2, 3, 2]
    assert ask_again(store, one, two, by=None) == 0 and overlaps(store) == [3, 3, 3, 2, 3, 2]
    assert touched(store, one, two).waiting == 4

    cy = person(store, "Cy")
    for who in (*raters, cy):
        store.read_guideline(who, two)
    assert all(store.next(who) == Wait(reason="nothing") for who in raters)  # somebody new judges
    got = [judge(store, cy, f"c{i}") for i in range(4)]
    assert [item.guideline for item in got] == [two] * 4 and store.next(cy) == Wait(reason="nothing")
    assert ask_again(store, one, two, by=None) == 0  # each has its judgment under the new version


def test_what_was_taken_back_touches_nothing(store: Store) -> None:
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    one, ada = store.add_guideline(ONE, "g"), person(store, "Ada")
    store.read_guideline(ada, one)
    store.add_groups(made("a"), "compare")
    answer(store, ada, "k0", note="R2")
    store.undo(ada)
    answer(store, ada, "k1", note="none")
    two = store.add_guideline(TWO, "g")
    assert touched(store, one, two).items == ()


def test_versions_that_do_not_fit_are_refused(store: Store) -> None:
    one = store.add_guideline(ONE, "g")
    two = store.add_guideline(TWO, "g")
    with pytest.raises(NotFound):
        touched(store, "invented", two)
    for old, new in ((two, one), (two, two)):
        with pytest.raises(BadVerdict, match="in force"):
            ask_again(store, old, new, by=None)
    assert touched(store, one, two).items == ()
