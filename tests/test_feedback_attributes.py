"""What raters tell of themselves: only what is offered, taken back at will, seen by nobody else."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from assent.feedback.attributes import CHOICES, attributes, attributes_of, set_attributes
from assent.feedback.errors import FeedbackError, NotFound
from assent.feedback.schema import PersonRow
from assent.feedback.state import mark
from assent.feedback.store import Store
from assent.stats.slices import NOT_TOLD, OTHER
from feedback_store import person


def test_what_is_told_is_kept_changed_and_taken_back(store: Store) -> None:
    one, two = person(store, "one"), person(store, "two")
    set_attributes(store, one, {"age": "under 30", "region": "Asia"})
    set_attributes(store, two, {"age": "60 and over"})
    assert attributes(store) == {
        one.rater.id: {"age": "under 30", "region": "Asia"},
        two.rater.id: {"age": "60 and over"},
    }
    set_attributes(store, one, {"age": "30 to 44"})
    assert attributes_of(store, one) == {"age": "30 to 44"}
    for nothing in (None, {}):
        set_attributes(store, one, {"age": "30 to 44"})
        set_attributes(store, one, nothing)
        assert attributes_of(store, one) == {} and list(attributes(store)) == [two.rater.id]


@pytest.mark.parametrize(
    "given", [{"age": "31"}, {"shoe size": "44"}, {"age": "under 30", "region": "<b>"}, {"age": "Asia"}]
)
def test_free_text_is_refused_and_changes_nothing(store: Store, given: dict[str, str]) -> None:
    one = person(store, "one")
    set_attributes(store, one, {"gender": "woman"})
    with pytest.raises(FeedbackError) as refused:
        set_attributes(store, one, given)
    assert refused.value.fix and "<b>" not in str(refused.value)
    assert attributes_of(store, one) == {"gender": "woman"}


def test_an_account_that_is_not_there(store: Store) -> None:
    ghost = person(store, "one").model_copy(update={"id": "nobody"})
    with pytest.raises(NotFound):
        set_attributes(store, ghost, {"age": "under 30"})


def test_the_audit_log_does_not_say_who_told_but_figures_are_made_anew(store: Store) -> None:
    one = person(store, "one")
    before, then = store.audit_log(), mark(store)
    set_attributes(store, one, {"age": "under 30"})
    assert store.audit_log() == before and mark(store) != then
    told = mark(store)
    set_attributes(store, one, None)
    assert mark(store) == then != told


def test_what_is_offered_no_longer_is_not_shown(store: Store) -> None:
    one = person(store, "one")
    old = '{"age": "about 40", "region": "Asia", "height": "tall"}'
    store.write(lambda db, now: db.execute(update(PersonRow).values(attributes=old)))
    assert attributes(store) == {one.rater.id: {"region": "Asia"}}


def test_no_value_is_called_like_a_group_that_hides_people() -> None:
    assert not {NOT_TOLD, OTHER} & {value for values in CHOICES.values() for value in values}
