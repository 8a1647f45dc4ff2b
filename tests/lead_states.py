"""States of a store made by hand, for the lead's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assent.core.records import Answer, Group, Judgment, Prompt, Rater
from assent.feedback.records import Guideline
from assent.feedback.state import Mark, State


def pair(i: int, lengths: tuple[int, int] = (20, 20)) -> Group:
    """A prompt with two answers of so many characters, in the order of their ids."""
    prompt = Prompt.ask(f"Question {i}?")
    ids = sorted(f"answer-{i}-{k}" for k in range(2))
    return Group(
        prompt=prompt,
        answers=tuple(Answer(id=a, text=f"{k}" * n) for k, (a, n) in enumerate(zip(ids, lengths, strict=True))),
    )


def judged(group: Group, rater: str, said: str, n: int = 0, flip: bool = False, **more: object) -> Judgment:
    """A judgment that says `first`, `second`, `tie` or `both_bad` of a pair."""
    a, b = (answer.id for answer in group.answers)
    tiers = {"first": [[a], [b]], "second": [[b], [a]], "tie": [[a, b]]}.get(said, [])
    made = {"id": f"{group.id}-{rater}-{n}", "group": group.id, "rater": rater, "tiers": tiers}
    outcome = "ranked" if tiers else said
    return Judgment.model_validate({**made, "outcome": outcome, "shown_order": [b, a] if flip else [a, b], **more})


def state_of(
    groups: Sequence[Group],
    judgments: Sequence[Judgment],
    models: Sequence[str] = (),
    told: Mapping[str, Mapping[str, str]] | None = None,
    gold: Sequence[Group] = (),
    guideline: str = "",
) -> State:
    """All of it. `models`: raters who are no people; `gold`: groups of which the first answer is known to be better."""
    names = sorted({judgment.rater for judgment in judgments})
    versions = [Guideline(version="v1", name="g", text=guideline, added=0.0)] if guideline else []
    return State(
        mark=Mark(0, 0, 0, ""),
        groups={group.id: group for group in groups},
        judgments=list(judgments),
        raters=[Rater(id=name, kind="model" if name in models else "human") for name in names],
        gold={group.id: [[answer.id] for answer in group.answers] for group in gold},
        told={rater: dict(values) for rater, values in (told or {}).items()},
        guidelines=versions,
    )
