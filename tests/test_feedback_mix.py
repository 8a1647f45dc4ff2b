"""The mix: conflicts are asked again of somebody new, never too often; shares hold; a preview changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, select

from assent.core.errors import DataError
from assent.feedback import choice, queue
from assent.feedback.choice import choose, give_place
from assent.feedback.mix import MOST_RAISES, opposed
from assent.feedback.preview import preview
from assent.feedback.records import Assignment, Person, Queue, Role, Verdict, Wait
from assent.feedback.schema import AssignmentRow, AuditRow, Base, ItemRow, PersonRow
from assent.feedback.store import Store
from assent.feedback.uncertainty import lead_spread, order_by_disagreement
from feedback_store import Clock, first_wins, given, groups, judge, open_store, person
from test_feedback_races import at_once

ALONE = Queue(gold=0, repeat=0, control=0, conflict=1)
IN_ORDER = Queue(gold=0, repeat=0, control=0)


def differ(store: Store, raters: list[Person], n: int) -> None:
    """Judge `n` items, every second rater against the others."""
    for k, who in enumerate(raters):
        for i in range(n):
            item = given(store, who)
            tiers = first_wins(item).tiers
            store.submit(who, item.id, f"d{i}", Verdict(tiers=tiers[::-1] if k % 2 else tiers))


def rows(store: Store, table: type[Base]) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in store.read(lambda db: db.execute(select(table.__table__)).all()))


def overlaps(store: Store) -> list[tuple[int, int]]:
    wanted = select(ItemRow.overlap, ItemRow.taken).order_by(ItemRow.n)
    return [(row.overlap, row.taken) for row in store.read(lambda db: db.execute(wanted).all())]


def test_votes_oppose_each_other_where_no_answer_is_best_to_both() -> None:
    assert opposed([["a"], ["b"]]) and opposed([["a"], ["a"], ["b"]])
    assert not opposed([["a"], ["a", "b"], ["a"]]) and not opposed([["a", "b"]]) and not opposed([])
    assert opposed([["a"], ["a", "b"], ["b"]])


def test_a_conflict_is_asked_of_somebody_new_twice_and_then_left(store: Store) -> None:
    store.set_queue(IN_ORDER)
    store.add_groups(groups(2), "compare", overlap=2)
    raters = [person(store, f"R{k}") for k in range(6)]
    differ(store, raters[:2], 1)  # the first item: one against one
    for who in raters[:2]:
        judge(store, who, "same")  # the second: both the same
    store.set_queue(ALONE)
    assert store.next(raters[0]) == Wait(reason="nothing")  # he judged it
    for who in raters[2:4]:
        item = judge(store, who, "again")
        assert (item.why, item.group) == ("conflict", groups(1)[0])
    assert store.next(raters[4]) == Wait(reason="nothing")
    assert overlaps(store) == [(4, 4), (2, 2)] and store.progress().judged == 6


def test_a_skip_or_an_ended_lease_leaves_one_open_place(store: Store, clock: Clock) -> None:
    store.set_queue(IN_ORDER)
    store.add_groups(groups(1), "compare", overlap=2)
    raters = [person(store, f"R{k}") for k in range(7)]
    differ(store, raters[:2], 1)
    store.set_queue(ALONE)
    item = given(store, raters[2])
    assert item.why == "conflict" and store.next(raters[3]) == Wait(reason="nothing")  # one at a time
    store.submit(raters[2], item.id, "s", Verdict(outcome="skip", reasons=("skip:unsure",)))
    left = given(store, raters[3])
    assert left.why == "plain"
    clock.now += queue.LEASE_SECONDS
    again = given(store, raters[4])
    assert again.why == "plain" and overlaps(store) == [(3, 3)]
    store.submit(raters[4], again.id, "k", first_wins(again))
    assert given(store, raters[5]).why == "conflict" and store.next(raters[6]) == Wait(reason="nothing")
    assert overlaps(store) == [(4, 4)]


def test_what_a_reviewer_settled_or_somebody_took_back_is_no_conflict(store: Store) -> None:
    store.set_queue(IN_ORDER)
    store.add_groups(groups(2), "compare", overlap=2)
    raters, rev = [person(store, f"R{k}") for k in range(3)], person(store, "Rev", Role.reviewer)
    differ(store, raters[:2], 2)
    case = store.adjudicate(rev, groups(2)[0].id)
    store.submit(rev, case.id, "k", first_wins(case))
    store.undo(raters[1])  # the second item is in hand again
    store.set_queue(ALONE)
    assert store.next(raters[2]) == Wait(reason="nothing")


def test_raters_who_race_for_conflicts_never_over_assign(store: Store) -> None:
    """Eight newcomers at once on three items that are split: each is asked once, then once more, then never."""
    store.set_queue(IN_ORDER)
    store.add_groups(groups(3), "compare", overlap=2)
    differ(store, [person(store, "A"), person(store, "B")], 3)
    store.set_queue(ALONE)
    newcomers = [person(store, f"R{k}") for k in range(8)]
    for turn in range(MOST_RAISES + 1):
        got = at_once(*(lambda who=who: store.next(who) for who in newcomers))
        won = [(who, item) for who, item in zip(newcomers, got, strict=True) if isinstance(item, Assignment)]
        assert len(won) == (3 if turn < MOST_RAISES else 0), got
        assert len({item.group.id for _, item in won}) == len(won)
        assert got.count(Wait(reason="nothing")) == 8 - len(won)
        for who, item in won:
            store.submit(who, item.id, item.id[:20], first_wins(item))
        newcomers = [who for who in newcomers if all(who != winner for winner, _ in won)] + [
            person(store, f"N{turn}{k}") for k in range(len(won))
        ]
    assert overlaps(store) == [(4, 4)] * 3


def test_shares_over_two_thousand_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gold 5 %, repeats 4 %, control 20 %, conflicts 10 %, where there is always one: within 4 standard deviations."""
    rules = Queue(conflict=0.1, seed=7)
    store = open_store(f"sqlite:///{tmp_path / 'feedback.db'}")
    store.add_groups(groups(1), "compare", overlap=50)
    known = groups(3, answers=3)
    store.add_groups(known, "rank", gold={g.id: [[a.id] for a in g.answers] for g in known})
    monkeypatch.setattr(choice, "_repeat", lambda *_: 1)
    monkeypatch.setattr(choice.mix, "conflict", lambda *_: 1)
    found: Counter[str] = Counter()

    def work(db: Connection, now: float) -> None:
        for k in range(2000):
            chosen = choose(db, Person(id=f"rater {k}", name="R", role=Role.rater), rules)
            assert chosen is not None
            found[chosen.why] += 1
            if chosen.why in ("plain", "control"):
                give_place(db, chosen.item)

    store.write(work)
    store.close()
    assert sum(found.values()) == 2000
    for why, low, high in (
        ("gold", 61, 139),  # 100 +- 4 x 9.7
        ("repeat", 45, 115),  # 80 +- 4 x 8.8
        ("control", 329, 471),  # 400 +- 4 x 17.9
        ("conflict", 147, 253),  # 200 +- 4 x 13.4
        ("plain", 1132, 1308),  # 1220 +- 4 x 21.8
    ):
        assert low <= found[why] <= high, found


def test_shares_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="together are more than 1"):
        Queue(gold=0.3, repeat=0.3, control=0.3, conflict=0.2)
    assert Queue(gold=0.1, repeat=0.2, control=0.3, conflict=0.4).conflict == 0.4  # 1, up to rounding


def test_a_preview_says_what_comes_and_changes_nothing(store: Store, clock: Clock) -> None:
    store.set_queue(Queue(gold=0, repeat=0, control=0, conflict=1))
    store.add_groups(groups(2), "compare", overlap=2)
    raters = [person(store, f"R{k}") for k in range(3)]
    differ(store, raters[:2], 2)
    store.add_groups(groups(4)[2:], "compare")
    given(store, raters[2])
    clock.now += queue.LEASE_SECONDS  # his lease has ended and is not taken back yet
    tables = (AssignmentRow, ItemRow, PersonRow, AuditRow)
    before = [rows(store, table) for table in tables]
    seen = preview(store, raters[2].id)
    assert seen[0] == "conflict" and Counter(seen)["plain"] == 2
    assert [rows(store, table) for table in tables] == before
    assert preview(store, raters[2].id, count=1) == ["conflict"]


def test_disagreement_about_the_lead_orders_the_queue(store: Store) -> None:
    """Leads of the preferred answer 1, 3 (deviation 1), 2, 2 (0) and 5, -1 (3)."""
    assert lead_spread([[1, 0], [13, 10]]) == 1.0  # 10 more on both answers by one member: no disagreement
    assert lead_spread([[0, 5, 0], [1, 0, 9]]) == 7.0  # means .5, 2.5, 4.5: the third leads by -5 and 9
    store.set_queue(IN_ORDER)
    made = groups(4)
    store.add_groups(made, "compare")
    with pytest.raises(DataError, match=f"group {made[0].id}"):
        order_by_disagreement(store, {made[1].id: [[1, 0], [3, 0]], made[0].id: [[1, 0]]})
    scores = {
        made[1].id: [[1, 0], [3, 0]],
        made[2].id: [[2, 0], [2, 0]],
        made[3].id: [[5, 0], [-1, 0]],
        "gone": [[0, 1]] * 2,
    }
    assert order_by_disagreement(store, scores) == 3
    ada = person(store, "Ada")
    assert [judge(store, ada, f"k{i}").group.id for i in range(4)] == [made[i].id for i in (3, 1, 0, 2)]


@pytest.mark.parametrize("bad", [[[1, 0]], [[1, 0], [1]], [[1], [2]], [[1, float("nan")], [1, 2]]])
def test_scores_that_show_no_disagreement_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(DataError, match=r"two members or more|not finite"):
        lead_spread(bad)
