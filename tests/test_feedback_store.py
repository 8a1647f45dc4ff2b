"""People judge: order, ties, corrections, leases, idempotence; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from assent.core.records import Judgment
from assent.feedback.errors import AlreadyAnswered, BadVerdict, FeedbackError, LeaseExpired, NotFound
from assent.feedback.reads import standing
from assent.feedback.records import Assignment, Person, Progress, Queue, Role, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import Clock, first_wins, given, groups, judge, open_store, person

MINUTE = 60.0


def test_everything_a_rater_says_comes_back(store: Store, clock: Clock) -> None:
    ada = person(store, "Ada")
    version = store.add_guideline("Be kind.", "first")
    store.read_guideline(ada, version)
    store.add_groups(groups(1, answers=3), "rank")
    item = given(store, ada)
    a, b, c = (answer.id for answer in item.group.answers)
    verdict = Verdict(
        tiers=((c,), (b, a)),
        strength=2,
        reasons=("kind", "short"),
        note="a note\x00 with ünicode",
        ideal="better",
        times={"shown": 1.5, "submitted": 3.25},
        visible_ms=1750.0,
    )
    clock.now += 10
    kept = store.submit(ada, item.id, "k", verdict)
    assert kept.tiers == ((c,), (a, b))  # inside a tie the group's order, not the screen's
    assert (kept.strength, kept.reasons, kept.note, kept.ideal) == (2, ("kind", "short"), verdict.note, "better")
    assert kept.guideline == version and kept.rater == ada.rater.id and kept.group == item.group.id
    assert kept.times == {"shown": 1.5, "submitted": 3.25, "visible_ms": 1750.0, "received": clock.now}
    assert kept.shown_order == item.shown_order and sorted(item.shown_order) == sorted((a, b, c))
    assert store.judgments() == [kept]
    assert [(d.answer.text, d.author) for d in store.demonstrations()] == [("better", ada.rater.id)]


def test_judgments_do_not_know_left_from_right(store: Store) -> None:
    """Two raters of one opinion, every order the second is shown flipped in the store: the same but for the order."""
    store.set_queue(Queue(repeat=0, control=0))
    store.add_groups(groups(12, answers=3), "rank", overlap=2)
    said: dict[str, list[tuple[object, ...]]] = {}
    orders: dict[str, tuple[str, ...]] = {}
    for name in ("Ada", "Ben"):
        who = person(store, name)
        for i in range(12):
            item = given(store, who)
            with store._engine.begin() as db:
                order = orders.setdefault(item.group.id, item.shown_order)[:: -1 if name == "Ben" else 1]
                db.execute(
                    text("UPDATE assignments SET shown_order = :o WHERE id = :i"),
                    {"o": json.dumps(order), "i": item.id},
                )
            seen = store.assignment(who, item.id)
            assert seen.shown_order == order
            at = [order.index(answer.id) for answer in item.group.answers]
            places = [[at[i % 3]], sorted(at[k] for k in range(3) if k != i % 3)]
            store.submit(who, item.id, f"k{i}", Verdict(tiers=seen.tiers(places), strength=1))
        mine = [act for act in store.judgments() if act.rater == who.rater.id]
        said[name] = [(act.group, act.tiers, act.strength, act.outcome) for act in mine]
    assert said["Ada"] == said["Ben"] and len(said["Ada"]) == 12
    assert all(a.shown_order == b.shown_order[::-1] for a, b in by_group(store.judgments()))


def by_group(acts: list[Judgment]) -> list[tuple[Judgment, Judgment]]:
    """The two acts on each group."""
    return [(a, b) for i, a in enumerate(acts) for b in acts[i + 1 :] if a.group == b.group]


def test_orders_are_drawn_anew_for_each_rater(store: Store) -> None:
    """Of 40 assignments of pairs both orders come up: all the same has a chance of 2 in 2^40."""
    store.add_groups(groups(20), "compare", overlap=2)
    orders = set()
    for name in ("Ada", "Ben"):
        who = person(store, name)
        for i in range(20):
            item = judge(store, who, f"k{i}")
            orders.add(item.shown_order.index(item.group.answers[0].id))
    assert orders == {0, 1}


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict(tiers=(("x",), ("y",))), "not in group"),
        (Verdict(tiers=()), "not placed"),
        (Verdict(outcome="skip", tiers=(("x",),)), "no tiers"),
        (Verdict(outcome="skip", note="\ud800"), "Unicode"),
        (Verdict(outcome="skip", note="x" * 100_001), "characters"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_and_the_item_stays(
    tmp_path: Path, verdict: Verdict, reason: str
) -> None:
    with open_store(str(tmp_path / "a.db")) as store:
        ada = person(store, "Ada")
        store.add_groups(groups(1), "compare")
        item = given(store, ada)
        with pytest.raises(BadVerdict, match=reason):
            store.submit(ada, item.id, "k", verdict)
        assert store.judgments() == [] and given(store, ada).id == item.id


def test_a_tie_has_strength_0_and_nothing_else_has(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(1), "compare")
    item = given(store, ada)
    for places, strength in (([[0, 1]], 2), ([[0], [1]], 0), ([[0], [1], []], 1), ([[0], [0]], 1)):
        with pytest.raises(BadVerdict):
            store.submit(ada, item.id, "k", Verdict(tiers=item.tiers(places), strength=strength))
    with pytest.raises(BadVerdict):
        item.tiers([[0], [2]])
    store.submit(ada, item.id, "k", Verdict(tiers=item.tiers([[1, 0]]), strength=0))
    assert store.judgments()[0].tiers == (tuple(a.id for a in item.group.answers),)


def test_a_retry_gives_the_same_row(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(2), "compare")
    item = given(store, ada)
    kept = store.submit(ada, item.id, "k", first_wins(item, note="first"))
    assert store.submit(ada, item.id, "k", first_wins(item, note="again")) == kept
    with pytest.raises(AlreadyAnswered) as found:
        store.submit(ada, item.id, "other-tab", first_wins(item))
    assert found.value.judgment == kept
    other = given(store, ada)
    with pytest.raises(BadVerdict, match="another item"):
        store.submit(ada, other.id, "k", first_wins(other))
    with pytest.raises(BadVerdict, match="client key"):
        store.submit(ada, other.id, "no spaces", first_wins(other))
    assert store.judgments() == [kept]


def test_a_reload_gives_the_same_item_and_prefetch_the_next(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(9), "compare")
    first = given(store, ada)
    assert given(store, ada) == first
    held = [first.id]
    for _ in range(4):
        held.append(given(store, ada, tuple(held)).id)
    assert len(set(held)) == 5
    assert store.next(ada, held) == Wait(reason="nothing", detail="5 items are in hand")
    assert given(store, ada) == first


def test_another_persons_assignment_does_not_exist(store: Store) -> None:
    ada, ben = person(store, "Ada"), person(store, "Ben")
    store.add_groups(groups(1), "compare")
    item = given(store, ada)
    with pytest.raises(NotFound):
        store.submit(ben, item.id, "k", first_wins(item))
    with pytest.raises(NotFound):
        store.assignment(ben, item.id)
    for id in ("invented", "", "\x00", "\ud800"):
        with pytest.raises(NotFound):
            store.submit(ada, id, "k", first_wins(item))
        with pytest.raises(NotFound):
            store.read_guideline(ada, id)
        with pytest.raises(NotFound):
            store.adjudicate(person(store, f"Rev {len(store.people())}", Role.reviewer), id)
        with pytest.raises(NotFound):
            store.invite(Role.lead, by=id)
        store.audit(None, "tried", id)


def test_overlap_is_kept_and_nobody_gets_an_item_twice(store: Store) -> None:
    store.set_queue(Queue(control=0.5, seed=3))
    store.add_groups(groups(6), "compare", overlap=2)
    seen: list[tuple[str, str]] = []
    for name in ("Ada", "Ben", "Cy"):
        who = person(store, name)
        while isinstance(item := store.next(who), Assignment):
            seen.append((name, item.group.id))
            store.submit(who, item.id, f"k{len(seen)}", first_wins(item))
    assert len(seen) == len(set(seen)) == 12
    assert store.progress() == Progress(items=6, places=12, judged=12, leased=0, done=6, skipped=0, gold=0)


def test_a_lease_ends_after_15_minutes(store: Store, clock: Clock) -> None:
    ada, ben = person(store, "Ada"), person(store, "Ben")
    store.add_groups(groups(1), "compare")
    item = given(store, ada)
    assert item.expires == clock.now + 15 * MINUTE
    clock.now += 15 * MINUTE - 1
    assert store.next(ben) == Wait(reason="nothing")
    clock.now += 1
    assert given(store, ben).group == item.group
    with pytest.raises(LeaseExpired):
        store.submit(ada, item.id, "k", first_wins(item))
    assert store.next(ada) == Wait(reason="nothing")
    clock.now += 15 * MINUTE
    again = given(store, ada)
    assert (again.id, again.shown_order) == (item.id, item.shown_order)
    store.submit(ada, again.id, "k", first_wins(again))
    with pytest.raises(LeaseExpired):
        store.submit(ben, given_id(store, ben), "k", first_wins(item))


def given_id(store: Store, who: Person) -> str:
    """Id of the only assignment that a person ever had."""
    with store._engine.connect() as db:
        found = db.execute(text("SELECT id FROM assignments WHERE person = :p"), {"p": who.id})
        return str(found.scalar_one())


def test_a_late_answer_is_kept_while_its_place_is_free(store: Store, clock: Clock) -> None:
    ada, ben = person(store, "Ada"), person(store, "Ben")
    store.add_groups(groups(2), "compare", overlap=2)
    item = given(store, ada)
    clock.now += 60 * MINUTE
    for _ in range(2):
        given(store, ben)  # takes ended leases back
    store.submit(ada, item.id, "k", first_wins(item))
    assert store.progress().judged == 1 and store.progress().leased == 1


def test_undo_supersedes_and_gives_the_item_again(store: Store) -> None:
    ada = person(store, "Ada")
    store.add_groups(groups(3), "compare")
    judge(store, ada, "k1")
    item = given(store, ada)
    kept = store.submit(ada, item.id, "k2", first_wins(item))
    prefetched = given(store, ada)
    back = store.undo(ada, "u")
    assert (back.outcome, back.supersedes, back.group) == ("skip", kept.id, item.group.id)
    assert store.undo(ada, "u") == back  # a double click
    again = given(store, ada)
    assert again.id == item.id != prefetched.id
    other = tuple(reversed(first_wins(item).tiers))
    new = store.submit(ada, item.id, "k3", Verdict(tiers=other))
    assert new.supersedes == back.id
    acts = store.judgments()
    assert len(acts) == 4 and acts[1] == kept  # nothing was changed or removed
    assert [act.tiers for act in standing(acts)][1:] == [other]
    assert store.progress().judged == 2


def test_undo_goes_back_one_act_at_a_time(store: Store) -> None:
    ada = person(store, "Ada")
    with pytest.raises(NotFound):
        store.undo(ada)
    store.add_groups(groups(2), "compare")
    first, second = judge(store, ada, "k1"), judge(store, ada, "k2")
    assert [store.undo(ada).group, store.undo(ada).group] == [second.group.id, first.group.id]
    with pytest.raises(NotFound):
        store.undo(ada)
    assert standing(store.judgments()) == [] and store.progress().leased == 2


def test_a_skip_gives_its_place_to_somebody_else(store: Store) -> None:
    ada, ben, cy = person(store, "Ada"), person(store, "Ben"), person(store, "Cy")
    store.add_groups(groups(1), "compare")
    item = given(store, ada)
    store.submit(ada, item.id, "k", Verdict(outcome="skip", reasons=("too long",)))
    assert store.next(ada) == Wait(reason="nothing")
    assert store.progress().skipped == 1
    store.undo(ada)
    assert given(store, ada).id == item.id and store.next(ben) == Wait(reason="nothing")
    store.submit(ada, item.id, "k2", Verdict(outcome="skip"))
    judge(store, ben, "k")
    with pytest.raises(FeedbackError, match="somebody else"):
        store.undo(ada)
    assert store.next(cy) == Wait(reason="nothing") and store.progress().done == 1
