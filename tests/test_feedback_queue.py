"""What comes next: guideline, gold, repeats, quiz, welfare; writing, adjudication, imports; on both databases."""

from __future__ import annotations

import pytest

from assent.core.records import Judgment, Prompt, Rater
from assent.feedback.errors import BadVerdict, NotAllowed, NotFound
from assent.feedback.records import Assignment, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import Clock, first_wins, given, groups, judge, person

MINUTE = 60.0


def test_the_guideline_is_read_before_work_and_stamped(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(3), "compare")
    one = store.add_guideline("One.", "g")
    assert store.next(ada) == Wait(reason="guideline", detail=one)
    with pytest.raises(NotFound):
        store.read_guideline(ada, "invented")
    store.read_guideline(ada, one)
    judge(store, ada, "k1")
    item = given(store, ada)
    two = store.add_guideline("Two.", "g")
    assert store.next(ada) == Wait(reason="guideline", detail=two)
    store.read_guideline(ada, two)
    assert given(store, ada).id == item.id
    judge(store, ada, "k2")
    assert [act.guideline for act in store.judgments()] == [one, two]
    assert store.add_guideline("Two.", "g") == two and len(store.guidelines()) == 2
    assert store.add_guideline("One.", "g") == one  # back to the first: read already
    judge(store, ada, "k3")
    assert store.judgments()[-1].guideline == one


def test_writing_makes_demonstrations_and_no_judgments(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_prompts([Prompt.ask("Write a haiku.")])
    item = given(store, ada)
    assert (item.kind, item.shown_order) == ("write", ())
    with pytest.raises(BadVerdict, match="empty"):
        store.submit(ada, item.id, "k", Verdict(ideal="  "))
    store.submit(ada, item.id, "k", Verdict(ideal="five seven five"))
    (shown,) = store.demonstrations()
    assert (shown.prompt.text, shown.answer.text) == ("Write a haiku.", "five seven five")
    assert store.judgments() == [] and store.groups() == []
    store.undo(ada)
    assert store.demonstrations() == []


def test_gold_items_come_at_their_share_and_are_scored(store: Store) -> None:
    work, known = groups(60), groups(30, answers=3)
    store.add_groups(work, "compare")
    store.add_groups(known, "rank", gold={g.id: [[a.id] for a in g.answers] for g in known})
    store.set_queue(Queue(gold=0.3, repeat=0, control=0.2))
    ada = person(store, "Ada")
    whys = []
    for i in range(60):
        item = given(store, ada)
        whys.append(item.why)
        right = first_wins(item)
        wrong = Verdict(tiers=right.tiers[::-1])
        store.submit(ada, item.id, f"k{i}", wrong if item.why == "gold" and whys.count("gold") == 1 else right)
    gold = whys.count("gold")
    # The same draws in each run, since Ada's id is. Expected are 18 and 12, within three standard deviations.
    assert 8 <= gold <= 28 and 3 <= whys.count("control") <= 21
    done = store.work_of(ada)
    assert (done.gold_total, done.gold_right, done.judged) == (gold, gold - 1, 60)
    assert sum(act.is_gold for act in store.judgments()) == gold
    assert store.progress().judged == 60 - gold


def test_plain_order_is_the_order_of_ranks(store: Store) -> None:
    store.set_queue(Queue(gold=0, control=0))
    made = groups(4)
    store.add_groups(made, "compare")
    store.rank({made[2].id: -1.0, made[0].id: 5.0})
    ada = person(store, "Ada")
    assert [judge(store, ada, f"k{i}").group.id for i in range(4)] == [made[i].id for i in (2, 1, 3, 0)]


def test_repeats_come_late_and_measure_consistency(store: Store) -> None:
    store.set_queue(Queue(gold=0, control=0, repeat=1))
    store.add_groups(groups(12), "compare")
    ada = person(store, "Ada")
    items = [judge(store, ada, f"k{i}") for i in range(11)]
    assert {item.why for item in items} == {"plain"}
    for i, turned in enumerate((False, True)):
        item = given(store, ada)
        assert item.why == "repeat" and item.group.id == items[i].group.id and item.id != items[i].id
        right = first_wins(item)
        store.submit(ada, item.id, f"r{i}", Verdict(tiers=right.tiers[::-1]) if turned else right)
    done = store.work_of(ada)
    assert (done.repeats_total, done.repeats_same) == (2, 1)
    assert [act.is_repeat for act in store.judgments()] == [False] * 11 + [True] * 2
    assert store.progress().judged == 11


def test_the_quiz_comes_first_and_must_be_passed(store: Store) -> None:
    quiz = groups(4, answers=3)
    store.add_groups(groups(3), "compare")
    store.add_groups(quiz, "rank", gold={g.id: [[a.id] for a in g.answers] for g in quiz}, quiz=True)
    good, bad = person(store, "Good"), person(store, "Bad")
    for who, right in ((good, 4), (bad, 3)):
        for i in range(4):
            item = given(store, who)
            assert item.why == "quiz"
            tiers = first_wins(item).tiers
            store.submit(who, item.id, f"q{i}", Verdict(tiers=tiers if i < right else tiers[::-1]))
    assert given(store, good).why in ("plain", "control")
    assert store.next(bad) == Wait(reason="quiz", detail="3 of 4")
    store.set_queue(Queue(quiz_pass=0.75))
    assert isinstance(store.next(bad), Assignment)


def test_welfare_opt_out_cap_and_exposure(store: Store, clock: Clock) -> None:
    clock.now = 1_700_006_400.0  # midnight UTC
    ada = person(store, "Ada")
    store.add_groups(groups(2, sensitive="violence"), "compare")
    store.add_groups(groups(3, answers=3), "rank")
    ada = store.set_limits(ada, opted_out=["violence"], daily_cap=2)
    assert [judge(store, ada, f"k{i}").kind for i in range(2)] == ["rank", "rank"]
    assert store.next(ada) == Wait(reason="cap")
    clock.now += 24 * 60 * MINUTE
    judge(store, ada, "k3")
    assert store.next(ada) == Wait(reason="nothing")
    store.set_limits(ada)
    item = given(store, ada)
    assert item.category == "violence"
    store.submit(ada, item.id, "k4", first_wins(item, visible_ms=1500))
    done = store.work_of(ada)
    assert (done.judged, done.today, done.seconds, done.exposure) == (4, 2, 1.5, {"violence": 1})


def test_a_reviewer_settles_outside_the_overlap(store: Store) -> None:
    ada, rev = person(store, "Ada"), person(store, "Rev", Role.reviewer)
    store.add_groups(groups(1), "compare")
    item = judge(store, ada, "k")
    with pytest.raises(NotAllowed):
        store.adjudicate(ada, item.group.id)
    case = store.adjudicate(rev, item.group.id)
    assert case.why == "adjudication" and case.group == item.group
    store.submit(rev, case.id, "k", first_wins(case))
    assert [act.rater for act in store.judgments()] == [ada.rater.id, rev.rater.id]
    assert store.progress().judged == 1


def test_imported_judgments_are_kept_as_they_are(store: Store) -> None:
    (group,) = groups(1)
    act = Judgment(
        id="j1",
        group=group.id,
        rater="gpt",
        tiers=tuple((a.id,) for a in group.answers),
        probs={group.answers[0].id: 0.75, group.answers[1].id: 0.25},
        cost=0.001,
    )
    judge_model = Rater(id="gpt", kind="model", attributes={"prompt": "v2"})
    assert store.add_judgments([group], [act], [judge_model]) == {"groups": 1, "judgments": 1}
    assert store.add_judgments([group], [act], [judge_model]) == {"groups": 0, "judgments": 0}
    assert (store.judgments(), store.groups(), store.raters()) == ([act], [group], [judge_model])
    better, best = (act.model_copy(update={"id": id, "supersedes": "j1"}) for id in ("j2", "j3"))
    with pytest.raises(BadVerdict, match="superseded before"):
        store.add_judgments([group], [better, best])
    with pytest.raises(BadVerdict):
        store.add_judgments(groups(1, answers=3), [act.model_copy(update={"id": "j2"})])
    assert store.judgments() == [act]


def test_groups_are_added_once_and_all_or_none(store: Store) -> None:
    made = groups(3)
    assert store.add_groups(made, "compare") == {"added": 3, "known": 0}
    assert store.add_groups(made, "compare") == {"added": 0, "known": 3}
    with pytest.raises(BadVerdict, match="2 to 2 answers"):
        store.add_groups([groups(4)[3], *groups(1, answers=3)], "compare")
    assert store.progress().items == 3
    with pytest.raises(BadVerdict, match="gold"):
        store.add_groups(groups(1, answers=4), "rank", gold={groups(1, answers=4)[0].id: [["x"]]})
