"""Open-Assistant's message trees: each prompt in a tree with its ranked replies is a group with a judgment.

    {"message_tree_id": "...", "prompt": {"message_id", "role": "prompter", "text", "replies": [...]}}
    {"message_id", "role": "prompter", "text", "replies": [...]}          the root alone

Source: Köpf et al. 2023 (arXiv 2304.07327), github.com/LAION-AI/Open-Assistant. `rank` is 0 for the best reply; it
is merged from several people's rankings, so that the judgment's rater is the project and not a person. Deleted
messages, those that review refused, and whatever hangs below them are left out. A reply without rank makes a group
of its own: nobody compared it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from assent.core.errors import DataError
from assent.core.hashing import content_id
from assent.core.records import Answer, Group, Judgment, Message, Prompt, Rater
from assent.formats import values

RATER = Rater(id="open-assistant", attributes={"merged": "several people's rankings"})
ROLES = {"prompter": "user", "assistant": "assistant"}


def is_tree(row: dict[str, Any]) -> bool:
    """Whether a row is a tree, or its root message with `replies`."""
    whole = "message_tree_id" in row and isinstance(row.get("prompt"), dict)
    return whole or {"message_id", "role", "text", "replies"} <= row.keys()


def parse(row: dict[str, Any]) -> list[Group | Judgment | Rater]:
    """Groups of the tree's prompts and judgments of their ranked replies."""
    root = row["prompt"] if "message_tree_id" in row and "prompt" in row else row
    tags = {name: value for name in ("message_tree_id", "lang") if (value := row.get(name, root.get(name))) is not None}
    found: list[Group | Judgment | Rater] = [*_walk(root, (), tags)]
    return [*found, RATER] if any(isinstance(record, Judgment) for record in found) else found


def _walk(node: Any, before: tuple[Message, ...], tags: dict[str, Any]) -> Iterator[Group | Judgment]:
    """Records of a message and all below it. `before`: the conversation up to here."""
    turns = (*before, _turn(node, "assistant" if before and before[-1].role == "user" else "user"))
    below = node.get("replies") or []
    if not isinstance(below, list):
        raise DataError(f"message {node.get('message_id')}: `replies` must be a list, not {below!r:.60}")
    replies = [reply for reply in below if _stands(reply)]
    if turns[-1].role == "user" and replies:
        for reply in replies:
            _turn(reply, "assistant")
        yield from _records(Prompt(messages=turns, tags=tags), replies)
    for reply in replies:
        yield from _walk(reply, turns, tags)


def _records(prompt: Prompt, replies: list[dict[str, Any]]) -> Iterator[Group | Judgment]:
    ranked = sorted((r for r in replies if r.get("rank") is not None), key=lambda reply: _rank(reply))
    others = [reply for reply in replies if reply.get("rank") is None]
    if len(ranked) < 2:
        ranked, others = [], replies
    seen: Counter[str] = Counter()
    for together in (ranked, *([reply] for reply in others)):
        if not together:
            continue
        answers = []
        for reply in together:
            answers.append(_answer(prompt, reply, seen[reply["text"]]))
            seen[reply["text"]] += 1
        group = Group(prompt=prompt, answers=tuple(answers))
        yield group
        if len(answers) > 1:
            tiers = tuple((answer.id,) for answer in answers)
            identity = content_id("judgment", group.id, RATER.id, tiers)
            yield Judgment(id=identity, group=group.id, rater=RATER.id, tiers=tiers)


def _answer(prompt: Prompt, reply: dict[str, Any], repetition: int) -> Answer:
    """A reply as an answer; one that says the same as another gets an id of its own."""
    source = str(reply.get("model_name") or "unknown") if reply.get("synthetic") else "human"
    return Answer.of(prompt, reply["text"], source=source, index=repetition)


def _stands(node: Any) -> bool:
    """Whether a message is neither deleted nor refused by review; one that is no message is kept, to be refused."""
    return not isinstance(node, dict) or not (node.get("deleted") or node.get("review_result") is False)


def _rank(reply: dict[str, Any]) -> int:
    rank = reply["rank"]
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise DataError(f"message {reply.get('message_id')}: `rank` must be a whole number, not {rank!r:.40}")
    return rank


def _turn(node: Any, due: str) -> Message:
    if not isinstance(node, dict) or not {"role", "text"} <= node.keys():
        raise DataError(f"a message must hold role and text, not {node!r:.60}")
    name = f"message {node.get('message_id')}"
    if ROLES.get(str(node["role"])) != due:
        other = next(role for role, ours in ROLES.items() if ours == due)
        raise DataError(f"{name} has the role {node['role']!r:.40}, but here speaks the {other}")
    return Message.model_validate({"role": due, "content": values.text(node["text"], f"text of {name}")})
