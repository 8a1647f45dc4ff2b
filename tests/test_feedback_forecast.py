"""When the queue is done, and what never gets done, on both databases."""

from __future__ import annotations

import pytest

from assent.feedback import forecast as module
from assent.feedback.forecast import forecast
from assent.feedback.records import Person, Queue, Verdict
from assent.feedback.state import mark
from assent.feedback.store import Store
from assent.feedback.stuck import stuck
from feedback_store import Clock, first_wins, given, groups, judge, person

DAY = 86_400.0
START = 1_700_006_400.0
"""A midnight, UTC."""
SKIP = Verdict(outcome="skip", reasons=("skip:unclear",))


@pytest.fixture
def queue(store: Store, clock: Clock) -> Store:
    """A store that hands out plain items only, at midnight."""
    clock.now = START
    store.set_queue(Queue(gold=0, repeat=0, control=0))
    return store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few judgments make a pace."""
    monkeypatch.setattr(module, "LEAST_JUDGMENTS", 6)


def work(queue: Store, clock: Clock, who: Person, day: float, count: int) -> None:
    clock.now = START + day * DAY
    for i in range(count):
        judge(queue, who, f"{who.name}-{day}-{i}".replace(".", "-"))


@pytest.mark.usefixtures("small")
def test_the_pace_of_the_last_week_carried_on(queue: Store, clock: Clock) -> None:
    queue.add_groups(groups(20), "compare")
    who = person(queue, "one")
    for day in (0, 1, 8, 9, 10):
        work(queue, clock, who, day, 3)
    found = forecast(queue, clock.now)
    # The first two days are over a week ago: 9 in 7 days, and 20 - 15 are left.
    assert (found.left, found.made, found.days) == (5, 9, 3)
    assert found.a_day == pytest.approx(9 / 7)
    assert found.finished == pytest.approx(clock.now + 5 / (9 / 7) * DAY)


@pytest.mark.usefixtures("small")
def test_a_young_project_is_not_measured_by_days_before_it(queue: Store, clock: Clock) -> None:
    queue.add_groups(groups(10), "compare")
    who = person(queue, "one")
    for day in (0, 1, 2):
        work(queue, clock, who, day, 2)
    clock.now = START + 4 * DAY
    found = forecast(queue, clock.now)
    assert found.a_day == pytest.approx(1.5) and found.finished == pytest.approx(clock.now + 4 / 1.5 * DAY)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("counts", "enough"), [((1, 1, 3), False), ((3, 3), False), ((1, 1, 4), True)])
def test_too_little_is_no_pace(queue: Store, clock: Clock, counts: tuple[int, ...], enough: bool) -> None:
    queue.add_groups(groups(10), "compare")
    who = person(queue, "one")
    for day, count in enumerate(counts):
        work(queue, clock, who, day, count)
    found = forecast(queue, clock.now)
    assert found.enough is enough and (found.finished is not None) is enough and found.made == sum(counts)


def test_the_minimum_is_what_the_page_says() -> None:
    assert (module.LEAST_JUDGMENTS, module.LEAST_DAYS) == (50, 3)


def test_checks_skips_and_what_was_taken_back_are_no_pace(queue: Store, clock: Clock) -> None:
    made = groups(12)
    queue.add_groups(made[:10], "compare")
    queue.add_groups(made[10:], "compare", gold={g.id: [[g.answers[0].id], [g.answers[1].id]] for g in made[10:]})
    who = person(queue, "one")
    judge(queue, who, "kept")
    queue.submit(who, given(queue, who).id, "skipped", SKIP)
    judge(queue, who, "back")
    queue.undo(who, "undone")
    queue.set_queue(Queue(gold=1, repeat=0, control=0))
    judge(queue, who, "again")  # the one taken back
    judge(queue, who, "gold")
    assert forecast(queue, clock.now).made == 2 and forecast(queue, clock.now).left == 8


@pytest.mark.usefixtures("small")
def test_all_done_has_a_pace_and_no_date(queue: Store, clock: Clock) -> None:
    queue.add_groups(groups(6), "compare")
    who = person(queue, "one")
    for day in (0, 1, 2):
        work(queue, clock, who, day, 2)
    found = forecast(queue, clock.now)
    assert found.left == 0 and found.enough and found.finished is None


def test_items_are_stuck_by_people_not_by_acts(queue: Store, clock: Clock) -> None:
    queue.add_groups(groups(3), "compare", overlap=3)
    people = [person(queue, f"p{i}") for i in range(3)]
    first = given(queue, people[0])
    queue.submit(people[0], first.id, "a", SKIP)
    queue.undo(people[0], "b")
    queue.submit(people[0], given(queue, people[0]).id, "c", SKIP)
    assert stuck(queue, "flagged") == []  # one person, twice
    queue.submit(people[1], given(queue, people[1]).id, "d", SKIP)
    (found,) = stuck(queue, "flagged")
    assert (found.group, found.skipped, found.flagged, found.ended, found.missing) == (first.group.id, 2, 0, 0, 3)
    assert found.prompt == first.group.prompt.text


def test_flags_are_reasons_and_no_words_of_a_note(queue: Store) -> None:
    queue.add_groups(groups(1), "compare", overlap=5)
    for i, more in enumerate(({"reasons": ("flagged",)}, {"note": "flagged"}, {"note": '"flagged"'})):
        who = person(queue, f"p{i}")
        item = given(queue, who)
        queue.submit(who, item.id, "k", first_wins(item, **more))
    assert stuck(queue, "flagged") == []
    who = person(queue, "last")
    item = given(queue, who)
    queue.submit(who, item.id, "k", first_wins(item, reasons=("clear", "flagged")))
    (found,) = stuck(queue, "flagged")
    assert (found.flagged, found.missing) == (2, 1)


def test_leases_that_ended_are_counted_once_the_item_is_free(queue: Store, clock: Clock) -> None:
    first, second = groups(2)
    queue.add_groups([first], "compare")
    before = mark(queue)
    for i in range(3):
        given(queue, person(queue, f"p{i}"))
        clock.now += 3600
    last = person(queue, "last")
    assert given(queue, last).group.id == first.id and stuck(queue, "flagged") == []  # in somebody's hands
    clock.now += 3600
    queue.add_groups([second], "compare")
    queue.rank({second.id: -1.0})
    assert given(queue, last).group.id == second.id  # whoever asks takes back what ended
    (found,) = stuck(queue, "flagged")
    assert (found.group, found.ended, found.missing) == (first.id, 4, 1)
    assert mark(queue).ended == 4 and before.ended == 0
