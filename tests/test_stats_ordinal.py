"""Ordinal alpha: published tables, near misses count less than far ones, degrees out of records."""

from __future__ import annotations

import pytest

from assent.core.errors import DataError
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.stats.agreement import DEGREES, Vote, degrees, nominal_alpha, ordinal_alpha


def cast(table: list[str]) -> list[Vote]:
    """One string a rater, one character an item; `.` is no vote."""
    return [
        Vote(f"i{item}", f"i{item}", f"r{rater}", value)
        for rater, row in enumerate(table)
        for item, value in enumerate(row)
        if value != "."
    ]


def alpha(table: list[str], order: str) -> float:
    found = ordinal_alpha(cast(table), list(order), seed=0, min_units=1)
    assert found is not None
    return found.estimate


def test_published_table() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011), section E: four observers, missing values; .815 ordinal.
    table = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    assert round(alpha(table, "12345"), 3) == 0.815


def test_two_values_are_nominal_and_reversing_the_order_changes_nothing() -> None:
    table = ["aabbab", "abbbaa"]
    nominal = nominal_alpha(cast(table), seed=0, min_units=1)
    assert nominal is not None and alpha(table, "ab") == pytest.approx(nominal.estimate)
    wide = ["11223344", "12233441"]
    assert alpha(wide, "1234") == pytest.approx(alpha(wide, "4321"))


def test_a_near_miss_counts_less_than_a_far_one() -> None:
    near, far = ["1122334455", "2122334455"], ["1122334455", "5122334455"]
    assert alpha(far, "12345") < alpha(near, "12345") < 1


def test_what_has_no_place_is_refused_and_one_value_is_not_defined() -> None:
    with pytest.raises(DataError, match="no place in the order"):
        ordinal_alpha(cast(["ab", "ab"]), ["a"], seed=0)
    assert ordinal_alpha(cast(["a" * 20] * 2), ["a", "b"], seed=0) is None


def test_degrees_are_signed_strengths_whatever_stood_left() -> None:
    prompt = Prompt.of("q")
    group = Group(prompt=prompt, answers=(Answer(id="b", text="y"), Answer(id="a", text="x")))
    better, worse = (("a",), ("b",)), (("b",), ("a",))
    judgments = [
        Judgment(id="1", group=group.id, rater="r1", tiers=better, strength=3, shown_order=("b", "a")),
        Judgment(id="2", group=group.id, rater="r2", tiers=worse, strength=2, shown_order=("a", "b")),
        Judgment(id="3", group=group.id, rater="r3", tiers=(("a", "b"),), strength=0),
        Judgment(id="4", group=group.id, rater="r4", tiers=better),
        Judgment(id="5", group=group.id, rater="r5", outcome="both_bad"),
    ]
    found = {vote.rater: vote.value for vote in degrees(judgments, {group.id: group})}
    assert found == {"r1": "3", "r2": "-2", "r3": "0", "r4": "1"}
    assert set(found.values()) <= set(DEGREES)
