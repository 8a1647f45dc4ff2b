"""Rules as rewards: every number worked by hand, and what no rule can score."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from assent.config.rewards import RULES, RewardSource
from assent.core.errors import DataError
from assent.core.records import Answer, Group, Prompt
from assent.rewards import rules
from assent.rewards.rules import check, rule_of, same
from assent.rewards.terms import distinct, listed
from assent.rewards.total import TotalReward


def rated(text: str, prompt: Prompt | None = None, ids: tuple[int, ...] | None = None, **source: Any) -> float | None:
    """What a rule gives one answer."""
    prompt = prompt or Prompt.ask("?")
    found = rule_of(RewardSource.model_validate(source))
    assert found is not None and found[0] in source
    group = Group(prompt=prompt, answers=(Answer.of(prompt, text, token_ids=ids),))
    return found[1].score([group])[0][0]


def test_every_rule_of_the_settings_is_there() -> None:
    assert tuple(rules.RULES) == RULES


# JSON


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"a": 1}', 1.0),
        (" [1, 2.5, null]\n", 1.0),
        ("17", 1.0),
        ('"text"', 1.0),
        ("", 0.0),
        ("{'a': 1}", 0.0),
        ('{"a": 1,}', 0.0),
        ('```json\n{"a": 1}\n```', 0.0),
        ('Sure: {"a": 1}', 0.0),
        ('{"a": 1} {"b": 2}', 0.0),
        ('{"a": NaN}', 0.0),
        ("-Infinity", 0.0),
        ("[" * 100_000, 0.0),
        ("9" * 5_000, 0.0),  # Python refuses to read it as a number
    ],
)
def test_json_is_the_standards_and_nothing_stands_around_it(text: str, score: float) -> None:
    assert rated(text, json_value={}) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"a": 1, "b": 2}', 1.0),
        ('{"b": 0, "c": 1, "a": null}', 1.0),
        ('{"a": 1}', 0.0),
        ('["a", "b"]', 0.0),
        ("1", 0.0),
    ],
)
def test_json_with_keys(text: str, score: float) -> None:
    assert rated(text, json_value={"keys": ["a", "b"]}) == score


# Patterns


def test_a_pattern_is_found_anywhere_or_matches_the_whole() -> None:
    assert rated("well , it is 7 .", regex={"pattern": r"it is \d"}) == 1.0
    assert rated("it was 7 .", regex={"pattern": r"it is \d"}) == 0.0
    assert rated("well , it is 7", regex={"pattern": r"it is \d", "whole": True}) == 0.0
    assert rated("it is 7", regex={"pattern": r"it is \d", "whole": True}) == 1.0
    assert rated("it is 7\n", regex={"pattern": r"it is \d$", "whole": True}) == 0.0, "a line break is text too"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"regex": {"pattern": "("}}, "no regular expression"),
        ({"exact": {"pattern": "(\\d"}}, "no regular expression"),
        ({"exact": {"pattern": "\\d+"}}, "put brackets around it"),
        ({"length": {"target": 0}}, "greater than or equal to 1"),
        ({"length": {"target": 8}, "regex": {"pattern": "a"}}, "exactly one of"),
        ({"exact": {}, "timeout": 5}, "`timeout` is not read here"),
        ({"exact": {"column": "x"}}, "not permitted"),
    ],
)
def test_what_is_no_rule_is_refused(source: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(why)):
        RewardSource.model_validate(source)


# The exact result

SEVEN = Prompt.ask("3 + 4?", answer="7")


@pytest.mark.parametrize(
    ("text", "truth", "score"),
    [
        ("it is 7 .", "7", 1.0),
        ("3 plus 4 is 7.", "7", 1.0),
        ("7 is more than 3", "7", 0.0),  # the last number counts
        ("it is 8 .", "7", 0.0),
        ("I do not know.", "7", 0.0),  # no result is a wrong one
        ("", "7", 0.0),
        ("so $1,234.00 in all", "1234", 1.0),
        ("so 1234", "1,234.0", 1.0),
        ("so 1,23", "123", 0.0),  # a comma that groups no thousands
        ("x = -5", "-5", 1.0),
        ("so -5", "5", 0.0),
        ("48-5", "5", 1.0),  # a minus between two numbers is no sign
        ("0.1", "0.10", 1.0),
        ("0.30000000000000004", "0.3", 0.0),  # decimal, not floating
        ("7", 7, 1.0),
        ("7", 7.0, 1.0),
    ],
)
def test_the_last_number_is_compared_as_a_number(text: str, truth: Any, score: float) -> None:
    assert rated(text, Prompt.ask("?", answer=truth), exact={}) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("the answer is  Seven ", 1.0),
        ("the answer is six\nthe answer is SEVEN", 1.0),
        ("the answer is 7", 0.0),
        ("seven", 0.0),
    ],
)
def test_text_is_compared_without_case_and_blanks(text: str, score: float) -> None:
    exact = {"tag": "truth", "pattern": "the answer is (.+)"}
    assert rated(text, Prompt.ask("?", truth=" seven"), exact=exact) == score


def test_a_group_that_took_no_part_is_no_result() -> None:
    assert rated("b", SEVEN, exact={"pattern": "a(.)|b"}) == 0.0


def test_without_the_tag_there_is_no_score() -> None:
    assert rated("7", Prompt.ask("?", truth="7"), exact={}) is None
    assert rated("7", Prompt.ask("?", truth="7"), exact={"tag": "truth"}) == 1.0


def test_sameness() -> None:
    assert same("1,234,567.50", "1234567.5") and same("+3", "3.") and same(".5", "0.5")
    assert not same("12,34", "1234") and not same("1e3", "1000") and not same("", "0") and not same("nan", "0")
    assert same("New  York\n", "new york") and same("NaN", "nan")


@pytest.mark.parametrize("text", ["1" * 20_000 + "x" * 20_000, "1,222" * 8_000, "1." * 20_000, "-" * 40_000])
def test_the_default_pattern_takes_no_more_than_one_pass(text: str) -> None:
    """Of quadratic or worse it would take minutes here, and a run would seem to hang."""
    assert rated(text, SEVEN, exact={}) == 0.0


# Length


@pytest.mark.parametrize(
    ("tokens", "score"), [(20, 0.0), (22, 0.0), (18, 0.0), (23, -0.05), (17, -0.05), (42, -1.0), (62, -2.0), (0, -0.9)]
)
def test_length_in_tokens(tokens: int, score: float) -> None:
    length = {"target": 20, "tolerance": 2}
    assert rated("many words here that must not count", ids=(5,) * tokens, length=length) == pytest.approx(score)


def test_length_in_words_where_the_answer_was_written() -> None:
    assert rated("a b  c\nd", length={"target": 4}) == 0.0
    assert rated("a b c d e f", length={"target": 4}) == -0.5


# Repetition


@pytest.mark.parametrize(
    ("text", "words", "score"),
    [
        ("a b a b a b", 2, -3 / 5),  # ab ba ab ba ab: two of five are new
        ("a b c d", 2, 0.0),
        ("no no no no no", 3, -2 / 3),  # three times the same
        ("No no NO", 1, -2 / 3),
        ("a b", 3, 0.0),  # too short to hold one
        ("", 1, 0.0),
    ],
)
def test_repetition(text: str, words: int, score: float) -> None:
    assert rated(text, repetition={"words": words}) == pytest.approx(score)


# Together


def sources(*given: dict[str, Any]) -> list[RewardSource]:
    return [RewardSource.model_validate(source) for source in given]


def test_a_weighted_sum_of_rules_by_hand() -> None:
    """1 x exact + 0.1 x format - 0.5 x |length|; the second prompt has no truth, so its answer has no score."""
    listed_ = sources(
        {"exact": {}},
        {"regex": {"pattern": r"\.$"}, "weight": 0.1},
        {"length": {"target": 4}, "weight": 0.5},
        {"length": {"target": 2}, "weight": 0.0},
    )
    other = Prompt.ask("who?")
    right, wrong = Answer.of(SEVEN, "it is 7 ."), Answer.of(SEVEN, "it is not 8")
    groups = [
        Group(prompt=SEVEN, answers=(right, wrong)),
        Group(prompt=other, answers=(Answer.of(other, "one two three four five six"),)),
    ]
    total = TotalReward(distinct(listed(listed_, token_budget=64)))
    assert total.score(groups) == [[1 + 0.1 + 0, 0], [None]]
    assert total.figures() == {
        "rewards/exact/mean": 0.5,
        "rewards/regex/mean": pytest.approx(1 / 3),
        "rewards/length/mean": pytest.approx(-0.5 / 3),
        "rewards/length-2/mean": pytest.approx(-(1 + 1 + 2) / 3),
    }


def test_the_order_and_cut_of_a_batch_change_nothing() -> None:
    groups = [
        Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(texts)))
        for prompt, texts in ((SEVEN, ("7", "a a a a")), (Prompt.ask("2?", answer="2"), ("2", "3", "2 2 2 2")))
    ]
    for kind, settings in {"exact": {}, "repetition": {}, "length": {"target": 2}, "json_value": {}}.items():
        found = rule_of(RewardSource.model_validate({kind: settings}))
        assert found is not None
        assert found[1].score(groups) == [found[1].score([group])[0] for group in groups]
        assert found[1].score(groups[::-1]) == found[1].score(groups)[::-1]


# Prompts that rules cannot score


def test_prompts_without_the_tag_are_refused_with_the_tags_there_are() -> None:
    asked = [Prompt.ask("a?", result="1", level=2), Prompt.ask("b?", result="2")]
    with pytest.raises(DataError) as refused:
        check(sources({"exact": {}}), asked, "sums.jsonl")
    assert str(refused.value).startswith("sums.jsonl: no prompt has the tag `answer`")
    assert "these prompts have: level, result" in str(refused.value)
    with pytest.raises(DataError, match="no tags"):
        check(sources({"length": {"target": 3}}, {"exact": {}}), [Prompt.ask("a?")], "sums.jsonl")


def test_some_without_the_tag_are_counted() -> None:
    asked = [Prompt.ask("a?", answer="1"), Prompt.ask("b?"), Prompt.ask("c?", answer=None)]
    assert check(sources({"exact": {}}), asked, "x") == 2
    assert check(sources({"length": {"target": 3}}), asked, "x") == 0, "no other rule reads a tag"


def test_text_needs_a_pattern_of_its_own() -> None:
    """With the default every answer would score 0, and nothing would say why."""
    asked = [Prompt.ask("a?", answer="seven"), Prompt.ask("b?", answer="Rome")]
    with pytest.raises(DataError, match="is a number") as refused:
        check(sources({"exact": {}}), asked, "x")
    assert "'seven'" in str(refused.value) and "pattern" in str(refused.value)
    assert check(sources({"exact": {"pattern": "(.+)"}}), asked, "x") == 0
    assert check(sources({"exact": {}}), [*asked, SEVEN], "x") == 0


def test_a_list_is_no_result() -> None:
    with pytest.raises(DataError, match=r"the tag `answer` of the prompt 'b\?' is a list"):
        check(sources({"exact": {}}), [SEVEN, Prompt.ask("b?", answer=["1", "2"])], "x")
