"""The lab's sums: right where they should be, wrong where they should be, split without a leak."""

from __future__ import annotations

import re

from assent.core.hashing import is_held_out
from assent.lab import sums
from assent.lab.tokenizer import tokenizer


def terms(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split() if word.isdigit())


def test_every_prompt_has_its_true_total() -> None:
    asked = sums.prompts()
    assert len({p.id for p in asked}) == len(asked) == 3 * len(sums.sums())
    assert len(sums.sums()) == 105 + 560  # C(15, 2) and C(16, 3): ways to share 0..13 among two and three terms
    assert all(sum(terms(p.text)) == int(p.tags["answer"]) <= 13 for p in asked)
    assert asked == sums.prompts(), "in the same order every time"


def test_the_order_of_the_terms_makes_no_new_subject() -> None:
    """Or 4 plus 3 would be held out while 3 plus 4 is learnt."""
    asked = sums.prompts()
    of = {terms(p.text): p.subject for p in asked}
    assert of[3, 4] == of[4, 3] != of[3, 5] and of[1, 2, 5] == of[5, 1, 2]
    sides: dict[tuple[int, ...], set[bool]] = {}
    for prompt in asked:
        sides.setdefault(tuple(sorted(terms(prompt.text))), set()).add(is_held_out(prompt.subject, 0.3))
    assert all(len(side) == 1 for side in sides.values())
    held = sum(side == {True} for side in sides.values())
    assert 10 < held < 0.5 * len(sides)


def test_demonstrations_are_about_what_was_asked_and_as_often_wrong_as_said() -> None:
    asked = sums.prompts()[:200]
    written = sums.demonstrations(asked, 2000, seed=4)
    off = [terms(d.answer.text)[0] - int(d.prompt.tags["answer"]) for d in written]
    assert {d.prompt.id for d in written} <= {p.id for p in asked}
    assert 0.27 < sum(gap != 0 for gap in off) / 2000 < 0.33 and max(map(abs, off)) == sums.NEAR
    assert [gap != 0 for gap in off] == [d.answer.source == "lab: wrong" for d in written]
    assert written == sums.demonstrations(asked, 2000, seed=4) != sums.demonstrations(asked, 2000, seed=5)


def test_documents_are_right_and_all_of_it_is_in_the_lexicon() -> None:
    texts = sums.documents(200, seed=1)
    known = tokenizer()
    every = [
        *texts,
        *(p.text for p in sums.prompts()),
        *(d.answer.text for d in sums.demonstrations(sums.prompts(), 50, 0)),
    ]
    assert not [text for text in every if known.unk_token_id in known(text)["input_ids"]]
    for text in texts:
        said = re.findall(r"((?:\d+ plus )+\d+)\D*? is (\d+) \.", text)
        assert len(said) == 4 and all(sum(terms(added)) == int(total) for added, total in said), text
    assert texts == sums.documents(200, seed=1) != sums.documents(200, seed=2)
