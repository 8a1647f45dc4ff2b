"""Records: ids from content, groups that fit, tiers that place every answer once, pairs from rankings."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from assent.core.records import (
    Answer,
    Group,
    Judgment,
    Message,
    Prompt,
    check_tiers,
    preference_pairs,
    sampled_answer_id,
)

PROMPT = Prompt.ask("what is 1 plus 1 ?")


def group(*texts: str) -> Group:
    answers = tuple(Answer(id=letter, text=text) for letter, text in zip("abcdefgh", texts, strict=False))
    return Group(prompt=PROMPT, answers=answers)


def ranked(*tiers: str, **rest: object) -> Judgment:
    """A ranking written as one string a tier: `ranked("b", "ac")`."""
    made = {"id": "j", "group": "g", "rater": "r", "tiers": tuple(tuple(tier) for tier in tiers), **rest}
    return Judgment.model_validate(made)


def test_ids_come_from_content_and_nothing_else() -> None:
    same = Prompt(messages=(Message(role="user", content="hello"),), tags={"kind": "x"})
    assert same.id == Prompt.ask("hello").id, "tags do not count"
    others = [Prompt.of("hello"), Prompt.ask("hello", system="be"), Prompt.ask("hello ")]
    assert len({p.id for p in (same, *others)}) == 4
    assert Prompt.model_validate(same.model_dump()).id == same.id
    assert Prompt(id="mine", messages=same.messages).id == "mine"


def test_ids_of_answers() -> None:
    """Samples often repeat a text: they are told apart by seed and index, written answers by text."""
    assert Answer.of(PROMPT, "2").id == Answer.of(PROMPT, "2").id
    written = {Answer.of(PROMPT, t, source=s, index=i).id for t in "23" for s in "xy" for i in (0, 1)}
    assert len(written) == 8
    sampled = {
        sampled_answer_id(p, s, seed, i)
        for p, s, seed, i in itertools.product((PROMPT, Prompt.ask("x")), "ab", (0, 1), (0, 1))
    }
    assert len(sampled) == 16


def test_ids_are_the_same_on_every_machine() -> None:
    """Judgments are joined to groups by these ids. `printf '["prompt",[["user","..."]]]' | sha256sum`."""
    assert PROMPT.id == "1f064c350afd2916"
    assert Answer.of(PROMPT, "2").id == "465927f5bed93de0"
    assert group("x", "y").id == "72cd8059d7563382"


def test_id_of_a_group_depends_on_its_answers_in_order() -> None:
    first, second = Answer(id="a", text="x"), Answer(id="b", text="y")
    ids = {Group(prompt=PROMPT, answers=pair).id for pair in ((first, second), (second, first), (first,))}
    assert len(ids) == 3


def test_subject_is_the_tag_or_else_the_prompt() -> None:
    assert Prompt.ask("x", subject="size of zor").subject == "size of zor"
    assert Prompt.ask("x", subject=7).subject == "7"
    assert PROMPT.subject == PROMPT.id


def test_plain_and_conversational() -> None:
    assert Prompt.of("once").plain
    assert not PROMPT.plain
    assert Prompt.ask("question", system="rules").text == "question"


@pytest.mark.parametrize(
    "made",
    [
        lambda: Group(prompt=PROMPT, answers=()),
        lambda: Group(prompt=PROMPT, answers=(Answer(id="a", text="x"), Answer(id="a", text="y"))),
        lambda: Prompt(messages=()),
        lambda: Prompt.model_validate({"messages": [{"role": "robot", "content": "x"}]}),
        lambda: Answer.model_validate({"id": "a", "text": "x", "finish": "abort"}),
        lambda: Answer.model_validate({"id": "a", "text": "x", "colour": "red"}),
        lambda: Judgment.model_validate({"id": "j", "group": "g", "rater": "r", "strength": 4}),
    ],
)
def test_records_that_cannot_be(made) -> None:
    with pytest.raises(ValidationError):
        made()


def test_records_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PROMPT.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("judgment", "problem"),
    [
        (ranked("b", "ac"), None),
        (ranked("abc"), None),
        (ranked("b", "a"), "answer c of group g is not placed"),
        (ranked("b", "ac", "b"), "answer b is placed twice"),
        (ranked("bb", "ac"), "answer b is placed twice"),
        (ranked("b", "acd"), "answer d is not in group g"),
        (ranked(), "answer a of group g is not placed"),
        (ranked(outcome="skip"), None),
        (ranked(outcome="both_bad"), None),
    ],
)
def test_tiers_place_every_answer_once(judgment: Judgment, problem: str | None) -> None:
    made = group("x", "y", "z").model_copy(update={"id": "g"})
    assert check_tiers(judgment, made) == problem


def test_pairs_of_a_ranking_with_a_tie() -> None:
    """[[b], [a, c], [d]] by hand: b beats three, a and c beat d, a and c tie."""
    made = group("x", "y", "z", "w")
    assert sorted(preference_pairs(ranked("b", "ac", "d"), made)) == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]


def test_identical_texts_make_no_pair() -> None:
    """Nobody can prefer a text to itself, whatever a rater clicked."""
    made = group("same", "other", "same")
    assert sorted(preference_pairs(ranked("a", "b", "c"), made)) == [(0, 1), (1, 2)]


def test_one_tier_makes_no_pair() -> None:
    assert preference_pairs(ranked("abc"), group("x", "y", "z")) == []


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")))
def test_every_pair_once_and_none_both_ways(order: tuple[str, ...]) -> None:
    pairs = preference_pairs(ranked(*order), group("x", "y", "z", "w"))
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 6
    place = {"abcd".index(letter): i for i, letter in enumerate(order)}
    assert all(place[better] < place[worse] for better, worse in pairs)


def test_one_dialogue_at_two_depths_is_one_subject() -> None:
    """Else the longer one would be measured on what the shorter one taught."""
    first = {"role": "user", "content": "how do i bake bread ?"}
    turns = [first, {"role": "assistant", "content": "with flour ."}, {"role": "user", "content": "and then ?"}]
    short, long = Prompt(messages=[first]), Prompt(messages=turns)
    briefed = Prompt(messages=[{"role": "system", "content": "be brief ."}, *turns])
    assert short.id != long.id != briefed.id
    assert short.subject == long.subject == briefed.subject == short.id
    assert Prompt(messages=[turns[2]]).subject != short.subject
    assert Prompt(messages=turns, tags={"subject": "bread"}).subject == "bread"
