"""Hours of raters, worked by hand; items wanted more or no more; and the command that orders the queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from assent.cli import feedback as feedback_commands
from assent.cli import feedback_rank
from assent.core.errors import AssentError, DataError
from assent.feedback import places
from assent.feedback.cost import costs, median_interval, total_hours
from assent.feedback.errors import BadVerdict
from assent.feedback.records import Assignment, Queue, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import first_wins, given, groups, open_store, person

IN_ORDER = Queue(gold=0, repeat=0, control=0)


def test_hours_for_what_is_left(store: Store) -> None:
    """21 judgments of 10 to 30 s: median 20 s. 25 items wanted twice, 22 judged: 28 left, 560 s."""
    store.set_queue(IN_ORDER)
    store.add_groups(groups(25), "compare", overlap=2)
    ada = person(store, "Ada")
    for k in range(19):
        item = given(store, ada)
        store.submit(ada, item.id, f"k{k}", first_wins(item, visible_ms=1000 * (10 + k)))
    (early,) = costs(store)
    assert (early.left, early.n, early.seconds, early.hours(), total_hours([early])) == (31, 19, None, None, None)
    item = given(store, ada)
    store.submit(ada, item.id, "skip", Verdict(outcome="skip", reasons=("skip:unsure",), visible_ms=90_000))
    for k in (19, 20):
        item = given(store, ada)
        store.submit(ada, item.id, f"k{k}", first_wins(item, visible_ms=1000 * (10 + k)))
    item = given(store, ada)
    store.submit(ada, item.id, "untimed", first_wins(item))
    given(store, ada)  # one in hand is not judged yet
    (cost,) = costs(store)
    assert (cost.kind, cost.left, cost.n) == ("compare", 28, 21)
    assert cost.seconds is not None and cost.seconds.estimate == 20.0
    assert 10 <= cost.seconds.low < 20 < cost.seconds.high <= 30
    hours, ten = cost.hours(), cost.hours(9)
    assert hours is not None and hours.estimate == pytest.approx(28 * 20 / 3600)
    assert ten is not None and ten.estimate == 0.05 and total_hours([cost]) == hours.estimate
    assert cost.per_hour(Queue(gold=0.05, repeat=0.05, control=0.2, conflict=0.1)) == pytest.approx(180 * 0.8)


def test_the_interval_is_of_the_median() -> None:
    same = median_interval([7.0] * 30)
    assert (same.low, same.estimate, same.high, same.n) == (7.0, 7.0, 7.0, 30)
    spread = median_interval([float(k) for k in range(1, 102)])
    # Of 101 values the median lies between the 41st and the 61st in 95 of 100 cases (binomial, 50.5 +- 1.96 x 5.02).
    assert spread.estimate == 51 and 38 <= spread.low <= 44 and 58 <= spread.high <= 64


def test_more_or_no_more_judgments_of_some_items(store: Store) -> None:
    store.set_queue(IN_ORDER)
    store.add_groups(groups(3), "compare", overlap=2)
    gold = groups(1, answers=3)
    store.add_groups(gold, "rank", gold={gold[0].id: [[a.id] for a in gold[0].answers]})
    ada = person(store, "Ada")
    item = given(store, ada)
    store.submit(ada, item.id, "k", first_wins(item))
    given(store, ada)
    assert [(s.key, s.part, s.items, s.free, s.full) for s in places.stacks(store)] == [
        ("compare/2", "work", 3, 4, 0),
        ("rank/0", "gold", 1, 0, 1),
    ]
    line = places.first_in_line(store, 2)
    assert [(each.prompt, each.taken) for each in line] == [("question 0 of 2", 1), ("question 1 of 2", 1)]
    assert places.want(store, places.these([line[0].n]), 4, by=None) == 1
    assert places.want(store, places.of_stack("compare/2"), 1, by=None) == 0  # never less by this way
    assert places.take_out(store, places.of_stack("compare/2"), by=None) == 2
    assert [(s.key, s.items, s.free) for s in places.stacks(store) if s.part == "work"] == [
        ("compare/0", 1, 0),
        ("compare/1", 1, 0),
        ("compare/4", 1, 3),
    ]
    held = store.next(ada)
    assert isinstance(held, Assignment)
    store.submit(ada, held.id, "k2", first_wins(held))  # what was in hand is kept
    assert store.next(ada) == Wait(reason="nothing")
    assert places.want(store, places.of_stack("rank/0"), 5, by=None) == 0  # gold is asked of everybody anyway
    assert [entry.what for entry in store.audit_log(9) if entry.action == "taken out of the queue"] == ["2 items"]
    for bad in (0, 51):
        with pytest.raises(BadVerdict, match="1 to 50"):
            places.want(store, places.these([1]), bad, by=None)
    for key in ("compare", "compare/x", "compare/²", "/1", "compare/99999"):
        with pytest.raises(BadVerdict, match="no such items"):
            places.of_stack(key)


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    feedback_commands.register(app)
    feedback_rank.register(app)
    return app


def test_the_command_orders_the_queue_or_changes_nothing(command: typer.Typer, tmp_path: Path) -> None:
    db, file = tmp_path / "feedback.db", tmp_path / "scores.jsonl"
    made = groups(3)
    with open_store(f"sqlite:///{db}") as store:
        store.set_queue(IN_ORDER)
        store.add_groups(made, "compare")

    def line() -> list[str]:
        with open_store(f"sqlite:///{db}") as store:
            return [each.prompt[9] for each in places.first_in_line(store, 3)]

    def run(*rows: object) -> object:
        file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return CliRunner().invoke(command, ["feedback", "rank", "--db", str(db), "--scores", str(file)]).exception

    good = {"group": made[1].id, "disagreement": 0.5}
    for bad, said in (
        ("nonsense\n", "not JSON"),
        ([1], "must be a JSON object"),
        ({"group": made[0].id}, "disagreement"),
        ({"group": made[0].id, "disagreement": -1}, "greater than or equal to 0"),
        ('{"group": "x", "disagreement": NaN}\n', "finite"),
        ({"group": made[0].id, "disagreement": "0.4"}, "number"),
        ({"group": made[0].id, "disagreement": 1, "score": 2}, "score"),
        (good, "stands twice"),
    ):
        error = run(good, bad)
        assert isinstance(error, DataError) and f"{file}:2" in str(error) and said in str(error), (bad, error)
    assert isinstance(run(), AssentError) and isinstance(run({"group": "else", "disagreement": 1}), AssentError)
    assert line() == ["0", "1", "2"]
    assert run(good, {"group": made[2].id, "disagreement": 2}, {"group": "else", "disagreement": 9}) is None
    assert line() == ["2", "1", "0"]
