"""Records as rows of other tools' shapes: TRL, HH-RLHF, OpenAI and chat fine-tuning. Table: docs/formats.md.

A row here is what a line of the file holds. What a shape has no place for is left out and counted, with its
reason, in the `left_out` that every function is given; nothing is bent to fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from assent.core.records import Answer, Demonstration, Group, Judgment, Message, Prompt, preference_pairs
from assent.formats import hh
from assent.formats.feedback import Feedback, current
from assent.formats.preferences import first_choices, is_blank, margin

Row = dict[str, Any]
LeftOut = Counter[str]
"""Reason -> how many judgments, answers or rows were left out for it."""
Per = Literal["judgment", "pair"]
Margin = Literal["given", "strength"]
SUPERSEDED = "superseded or taken back by a later judgment"


class Choice(NamedTuple):
    """One answer preferred to another, and what is known of how surely."""

    group: Group
    chosen: Answer
    rejected: Answer
    weight: float
    """1 / pairs of the judgment, as training here weighs them; of a pair with several votes 2 x prob - 1."""
    prob: float | None = None
    """Probability that `chosen` is the better one, where the judgments tell one."""
    margin: float | None = None
    votes: int = 1


def choices(feedback: Feedback, left_out: LeftOut, per: Per = "judgment", use: Margin = "given") -> list[Choice]:
    """The preferences in ranked judgments that no later one supersedes.

    `per="judgment"` gives every judgment's pairs, so that raters who disagree give rows that do; `per="pair"` one
    row a pair of answers, the votes of all judgments counted together, ties as half.
    """
    ranked = _ranked(feedback, left_out)
    if per == "pair":
        return _of_pairs(ranked, left_out)
    return [choice for judgment, group in ranked for choice in _of_judgment(judgment, group, left_out, use)]


def _ranked(feedback: Feedback, left_out: LeftOut) -> Iterator[tuple[Judgment, Group]]:
    groups = feedback.by_id()
    left_out[SUPERSEDED] += len(feedback.judgments) - len(now := current(feedback.judgments))
    for judgment in now:
        if is_blank(groups[judgment.group]):
            left_out["a written answer: nothing is compared"] += 1
        elif judgment.outcome == "ranked":
            yield judgment, groups[judgment.group]
        else:
            left_out[f"outcome {judgment.outcome}: no answer is preferred"] += 1


def _of_judgment(judgment: Judgment, group: Group, left_out: LeftOut, use: Margin) -> list[Choice]:
    pairs = preference_pairs(judgment, group)
    if not pairs:
        left_out["tie or equal texts: no answer is preferred"] += 1
    given = judgment.scores is not None and "margin" in judgment.scores
    by = float(judgment.strength) if use == "strength" and judgment.strength is not None else None
    if use == "given" and given:
        by = margin(judgment)
    answers, probs = group.answers, judgment.probs or {}
    return [
        Choice(group, answers[b], answers[w], 1 / len(pairs), _luce(probs, answers[b].id, answers[w].id), by)
        for b, w in pairs
    ]


def _luce(probs: dict[str, float], first: str, second: str) -> float | None:
    """p_i / (p_i + p_j) (Luce 1959), where a judgment gives both."""
    if first not in probs or second not in probs or probs[first] + probs[second] <= 0:
        return None
    return probs[first] / (probs[first] + probs[second])


def _of_pairs(ranked: Iterable[tuple[Judgment, Group]], left_out: LeftOut) -> list[Choice]:
    groups, votes = dict[str, Group](), dict[tuple[str, int, int], list[float]]()
    for judgment, group in ranked:
        groups[group.id] = group
        for i, j, prob in _votes(judgment, group):
            votes.setdefault((group.id, i, j), []).append(prob)
    found = []
    for (name, i, j), cast in votes.items():
        prob, group = sum(cast) / len(cast), groups[name]
        if prob == 0.5:
            left_out["pair of answers: as many votes for the one as for the other"] += 1
            continue
        better, worse = (i, j) if prob > 0.5 else (j, i)
        sure = max(prob, 1 - prob)
        found.append(Choice(group, group.answers[better], group.answers[worse], 2 * sure - 1, sure, votes=len(cast)))
    return found


def _votes(judgment: Judgment, group: Group) -> Iterator[tuple[int, int, float]]:
    """(i, j, probability that answer i is better) for the pairs of a ranking; a tie is a half."""
    tier = {answer: place for place, tied in enumerate(judgment.tiers) for answer in tied}
    for i, j in combinations(range(len(group.answers)), 2):
        first, second = group.answers[i], group.answers[j]
        if first.text == second.text:
            continue
        prob = _luce(judgment.probs or {}, first.id, second.id)
        gap = tier[second.id] - tier[first.id]
        yield i, j, prob if prob is not None else 0.5 if gap == 0 else float(gap > 0)


def thumbs(feedback: Feedback, left_out: LeftOut) -> Iterator[tuple[Group, Answer, bool, float]]:
    """(group, answer, liked, weight): first tier liked, last tier not, both-bad none; a judgment weighs 1."""
    groups = feedback.by_id()
    left_out[SUPERSEDED] += len(feedback.judgments) - len(now := current(feedback.judgments))
    for judgment in now:
        group = groups[judgment.group]
        good, bad = (set[str](), set[str]()) if is_blank(group) else _ends(judgment, group)
        if not good | bad:
            left_out["tie, skip or written answer: neither liked nor disliked"] += 1
        for answer in group.answers:
            if answer.id in good | bad:
                yield group, answer, answer.id in good, 1 / len(good | bad)


def _ends(judgment: Judgment, group: Group) -> tuple[set[str], set[str]]:
    ids = {answer.id for answer in group.answers}
    if judgment.outcome == "both_bad":
        return set(), ids
    if judgment.outcome != "ranked":
        return set(), set()
    if len(judgment.tiers) > 1:
        return set(judgment.tiers[0]), set(judgment.tiers[-1])
    return (ids, set()) if len(ids) == 1 else (set(), set())


def completions(feedback: Feedback, best: bool) -> list[Demonstration]:
    """Answers to imitate, each text once a prompt: demonstrations, ideal answers, with `best` the first choices."""
    groups, found = feedback.by_id(), list(feedback.demonstrations)
    now = current(feedback.judgments)
    for judgment in now:
        if judgment.ideal is not None:
            prompt = groups[judgment.group].prompt
            answer = Answer.of(prompt, judgment.ideal, source=judgment.rater)
            found.append(Demonstration(prompt=prompt, answer=answer, author=judgment.rater))
    if best:
        found += first_choices(groups, now)
    once: dict[tuple[str, str], Demonstration] = {}
    for demonstration in found:
        once.setdefault((demonstration.prompt.id, demonstration.answer.text), demonstration)
    return list(once.values())


# Rows


def trl_preference(found: Iterable[Choice]) -> Iterator[tuple[Prompt, Row]]:
    """TRL's preference rows with explicit prompt. `margin` stands in all rows or in none: 0 where nobody gave one."""
    listed = list(found)
    margins, probs = any(c.margin is not None for c in listed), any(c.prob is not None for c in listed)
    for c in listed:
        row = {"prompt": _prompt(c.group.prompt), "chosen": _answer(c.group.prompt, c.chosen.text)}
        row |= {"rejected": _answer(c.group.prompt, c.rejected.text)}
        row |= {"margin": c.margin or 0.0} if margins else {}
        row |= {"prob": 1.0 if c.prob is None else c.prob} if probs else {}
        yield c.group.prompt, {**row, "weight": c.weight, "group_id": c.group.id}


def trl_unpaired(found: Iterable[tuple[Group, Answer, bool, float]]) -> Iterator[tuple[Prompt, Row]]:
    """TRL's unpaired rows: a completion and whether it was liked."""
    for group, answer, liked, weight in found:
        prompt = group.prompt
        row = {"prompt": _prompt(prompt), "completion": _answer(prompt, answer.text), "label": liked}
        yield prompt, {**row, "weight": weight, "group_id": group.id}


def trl_completion(found: Iterable[Demonstration]) -> Iterator[tuple[Prompt, Row]]:
    """TRL's prompt-completion rows."""
    for d in found:
        yield d.prompt, {"prompt": _prompt(d.prompt), "completion": _answer(d.prompt, d.answer.text)}


def hh_rows(found: Iterable[Choice], left_out: LeftOut) -> Iterator[tuple[Prompt, Row]]:
    """Transcripts; only those that are read back as the same conversation."""
    for c in found:
        both = [(*c.group.prompt.messages, Message(role="assistant", content=a.text)) for a in (c.chosen, c.rejected)]
        reason = next((why for turns in both if (why := _not_in_transcript(turns))), None)
        if reason:
            left_out[reason] += 1
        else:
            yield c.group.prompt, {"chosen": hh.to_text(both[0]), "rejected": hh.to_text(both[1])}


def _not_in_transcript(turns: Sequence[Message]) -> str | None:
    if odd := [turn.role for turn in turns if turn.role not in hh.SPEAKERS]:
        return f"a transcript has no place for a {'plain text' if odd[0] == 'text' else odd[0] + ' message'}"
    if turns[0].role != "user":
        return "a transcript begins with a user turn"
    same = hh.to_messages(hh.to_text(turns)) == tuple(turns)
    return None if same else "a transcript could not be taken apart again: a text holds a speaker's mark"


def openai_rows(found: Iterable[Choice], left_out: LeftOut) -> Iterator[tuple[Prompt, Row]]:
    """OpenAI's preference fine-tuning rows (as Azure, Together and Fireworks read them), nothing else in them."""
    for c in found:
        if reason := _not_in_chat(c.group.prompt, c.chosen.text, c.rejected.text):
            left_out[reason] += 1
            continue
        row = {"input": {"messages": _prompt(c.group.prompt)}, "preferred_output": _assistant(c.chosen.text)}
        yield c.group.prompt, {**row, "non_preferred_output": _assistant(c.rejected.text)}


def chat_rows(found: Iterable[Demonstration], left_out: LeftOut) -> Iterator[tuple[Prompt, Row]]:
    """Chat fine-tuning rows: `messages` alone, the last one the answer."""
    for d in found:
        if reason := _not_in_chat(d.prompt, d.answer.text):
            left_out[reason] += 1
        else:
            yield d.prompt, {"messages": [*_prompt(d.prompt), *_assistant(d.answer.text)]}


def _not_in_chat(prompt: Prompt, *texts: str) -> str | None:
    if prompt.plain:
        return "a chat file has no place for plain text"
    if any(not text.strip() for text in (*texts, *(m.content for m in prompt.messages))):
        return "a chat file must not hold an empty message"
    return None


def _prompt(prompt: Prompt) -> Any:
    return prompt.text if prompt.plain else [{"role": m.role, "content": m.content} for m in prompt.messages]


def _answer(prompt: Prompt, text: str) -> Any:
    return text if prompt.plain else _assistant(text)


def _assistant(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]
