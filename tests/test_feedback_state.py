"""One state of all that was judged: who is a person, what is work, what a reviewer settled."""

from __future__ import annotations

from assent.core.records import Rater
from assent.feedback.records import Queue, Role
from assent.feedback.state import mark, state
from assent.feedback.store import Store
from feedback_store import first_wins, groups, judge, person
from lead_states import judged


def test_checks_and_what_was_settled_are_no_work_and_models_no_people(store: Store) -> None:
    made = groups(3)
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    store.add_groups(made[:1], "compare")
    store.add_groups(made[1:2], "compare", gold={made[1].id: [[a.id] for a in made[1].answers]})
    ann, rev = person(store, "ann"), person(store, "rev", Role.reviewer)
    judge(store, ann, "work")
    store.set_queue(Queue(gold=1, repeat=0, control=0))
    judge(store, ann, "check")
    item = store.adjudicate(rev, made[0].id)
    store.submit(rev, item.id, "settled", first_wins(item))
    extern = [judged(made[0], "robot", "second"), judged(made[2], "stranger", "first", is_gold=True)]
    store.add_judgments([made[0], made[2]], extern, [Rater(id="robot", kind="model"), Rater(id="stranger")])
    seen = state(store)
    assert seen.mark == mark(store) and len(seen.judgments) == 5
    assert seen.people == {ann.rater.id, rev.rater.id, "stranger"}
    assert [(act.rater, act.group) for act in seen.acts] == [
        (ann.rater.id, made[0].id),
        (ann.rater.id, made[1].id),
        ("stranger", made[2].id),
    ]
    assert [act.group for act in seen.work] == [made[0].id]
    assert seen.gold == {made[1].id: [[a.id] for a in made[1].answers]}


def test_an_account_is_a_person_whatever_a_file_called_him(store: Store) -> None:
    ann = person(store, "ann")
    store.add_judgments(groups(1), [judged(groups(1)[0], "model-x", "first")], [Rater(id="model-x", kind="model")])
    assert state(store).people == set()
    store.add_groups(groups(1), "compare")
    judge(store, ann, "k")
    assert state(store).people == {ann.rater.id}
